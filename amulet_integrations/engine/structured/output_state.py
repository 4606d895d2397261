"""Keeps one request to its branches: what may come next, with which weights, until when.

While several branches can still be meant, tokens are drawn with the request's own weights. A
token that leaves one branch only has decided; where that branch has weights of its own, the token
is drawn once more, with those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.engine.structured.grammar_state import Path
from amulet_integrations.engine.structured.reasoning import Thoughts, end_length
from amulet_integrations.errors import ContextLengthError, GenerationError, InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amulet_integrations.engine.request import GenerationRequest
    from amulet_integrations.engine.structured.alternatives import Weights
    from amulet_integrations.engine.structured.grammar import GrammarCompiler


class Guide:
    """The branches of one request, as far as its completion has been written.

    Args:
        request: A request with branches.
        grammars: Reads their grammars.
        room: Most tokens of the completion.

    Attributes:
        shortened: Whether something was closed sooner than the model would have, for want of room.

    Raises:
        ContextLengthError: The contexts leave too little room for a branch that `max_new_tokens`
            has room for.
        InvalidRequestError: No branch can be finished within `room` tokens.
        UnsupportedGrammarError: A grammar cannot be enforced.
        UnsupportedModelError: The model's tokenizer allows of no grammar.
    """

    def __init__(self, request: GenerationRequest, grammars: GrammarCompiler, room: int) -> None:
        self._left = room
        self._banned: set[int] = set()
        self._deciding_weights = request.running_weights(None)
        self.shortened = False
        self._paths = self._paths_of(request, grammars)
        thoughts = self._thoughts_of(request, grammars) if request.thoughts_end else None
        self._may_think = thoughts if thoughts and thoughts.beginning is not None else None
        self._thoughts = None if self._may_think else thoughts

    @property
    def weights(self) -> Weights:
        """The mixture that the next token is drawn with, for the contexts that are run."""
        if self._thoughts or self._may_think or len(self._paths) > 1:
            return self._deciding_weights
        return self._paths[0].weights

    @property
    def satisfied(self) -> bool:
        """Whether the text may end here."""
        return not self._thoughts and any(not path.home for path in self._paths)

    @property
    def free(self) -> bool:
        """Whether the text stands inside no form that must be finished."""
        return not self._thoughts and any(path.free for path in self._paths)

    @property
    def whole(self) -> bool:
        """Whether the text may end here and has a form that an end without a reason cannot cut."""
        return any(not path.home and path.structured for path in self._paths)

    @property
    def finished(self) -> bool:
        """Whether nothing can follow."""
        return all(path.finished for path in self._paths)

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab,)."""
        if self._thoughts:
            return self._thoughts.allowed()
        first, *others = [path.allowed() for path in self._paths]
        for mask in others:
            first = first | mask
        if not self._banned and not self._may_think:
            return first
        first = first.copy()
        first[list(self._banned)] = False
        if self._may_think:
            first[self._may_think.beginning] = True
        return first

    def take(self, token: int) -> int | None:
        """Takes the token that was drawn, or what has to stand in its place.

        Args:
            token: One of those allowed.

        Returns:
            The token that the completion goes on with: the one given, or the next one of the way
            to the end where the token would leave too little room. None where another one is to
            be drawn, with what are now the weights and the tokens allowed.
        """
        before = self.weights
        possible = [path for path in self._paths if path.allowed()[token]]
        if self._may_think:
            may_think, self._may_think = self._may_think, None
            if may_think.begins_with(token) or (token == may_think.beginning and not possible):
                may_think.begin()
                self._thoughts = may_think
        if self._thoughts:
            return self._thought(self._thoughts, token)
        if not possible:
            raise GenerationError(f"The token {token} is not one that the grammar allows.")
        if len(possible) == 1:
            self._paths = possible
        if self.weights != before:
            return None
        going_on = [path for path in possible if path.advance(token, self._left - 1)]
        if going_on:
            return self._taken(token, going_on)
        return self._turn_home(token, possible)

    def _paths_of(self, request: GenerationRequest, grammars: GrammarCompiler) -> list[Path]:
        """The branches that there is room for."""
        room, wanted = self._left, request.sampling.max_new_tokens
        if request.thoughts_end and not request.thoughts_begin:
            room -= end_length(request.thoughts_end, grammars)
        paths = [Path(alternative, request, grammars) for alternative in request.alternatives]
        fitting = [path for path in paths if len(path.home) <= room]
        shortest = min(len(path.home) for path in paths)
        if len(fitting) < len(paths) and self._left < wanted:
            raise ContextLengthError(
                f"The contexts leave room for {max(room, 0)} tokens of an answer, but what it may "
                f"be has {max(len(path.home) for path in paths)} at least. Shorten the "
                "conversation, the tools or the schema."
            )
        if not fitting:
            raise InvalidRequestError(
                f"There is room for {max(room, 0)} tokens, but the shortest answer found for the "
                f"schema (or grammar) has {shortest}. Ask for more tokens or for less in the "
                "answer."
            )
        return fitting

    def _thoughts_of(
        self, request: GenerationRequest, grammars: GrammarCompiler
    ) -> Thoughts | None:
        longest = max(len(path.home) for path in self._paths)
        end = str(request.thoughts_end)
        room = self._left - max(self._left // 2, longest) - end_length(end, grammars)
        if request.thoughts_begin and room < 1:
            return None
        return Thoughts(request.thoughts_begin, end, grammars, room)

    def _thought(self, thoughts: Thoughts, token: int) -> int:
        token = thoughts.take(token)
        self._left -= 1
        if thoughts.over:
            self._thoughts = None
        return token

    def _turn_home(self, token: int, possible: list[Path]) -> int | None:
        homeward = next((path.home[0] for path in possible if path.home), None)
        if homeward is None or homeward in self._banned:
            self._banned.add(token)
            return None
        self.shortened = True
        going_on = [path for path in self._paths if path.allowed()[homeward]]
        return self._taken(
            homeward, [path for path in going_on if path.advance(homeward, self._left - 1)]
        )

    def _taken(self, token: int, paths: list[Path]) -> int:
        self._paths = paths
        self._left -= 1
        self._banned.clear()
        return token
