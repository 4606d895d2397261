"""Keeps one request to its alternatives: which tokens may come next, and with which weights.

While several alternatives are possible, tokens are drawn with the request's own weights. The token
that leaves a single alternative has decided. Where that alternative has weights of its own, the
token is drawn again, with those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.errors import ContextLengthError, GenerationError, InvalidRequestError

from .grammar_state import GrammarState
from .reasoning_state import ReasoningState, end_length

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amulet_integrations.engine.request import GenerationRequest

    from .alternatives import Weights
    from .grammar import GrammarCompiler


class StructuredOutputState:
    """How far the completion of one request has come in its alternatives.

    Args:
        request: A request with alternatives.
        grammars: Compiles their grammars.
        room: Most tokens of the completion.
        end_ids: Tokens that end the text; by default those that the grammars know.
        deadline: Until when compiling the grammars may take.

    Attributes:
        shortened: Whether something was closed sooner than the model would have closed it, because
            the tokens ran out.

    Raises:
        ContextLengthError: The contexts leave too little room for an alternative that fits into
            `max_new_tokens`.
        InvalidRequestError: No alternative can be finished within `room` tokens.
        RequestTimeoutError: The deadline has passed.
        UnsupportedGrammarError: A grammar cannot be enforced.
        UnsupportedModelError: No grammar can be enforced with the model's tokenizer.
    """

    def __init__(
        self,
        request: GenerationRequest,
        grammars: GrammarCompiler,
        room: int,
        end_ids: frozenset[int] = frozenset(),
        deadline: Deadline | None = None,
    ) -> None:
        self._grammars = grammars
        self._left = room
        # Grammars are compiled for the engine's end tokens; those of the request stand for them.
        self._end_ids = list(grammars.end_ids)
        self._own_end_ids = list(end_ids - grammars.end_ids)
        self._rejected: set[int] = set()
        self._deciding_weights = request.running_weights(None)
        self.shortened = False
        self._states = self._states_that_fit(request, deadline or Deadline())
        self._reasoning = self._reasoning_of(request) if request.thoughts_end else None

    @property
    def weights(self) -> Weights:
        """The mixture that the next token is drawn with, for the contexts that are run."""
        if self._reasoning or len(self._states) > 1:
            return self._deciding_weights
        return self._states[0].weights

    @property
    def is_satisfied(self) -> bool:
        """Whether the text may end here."""
        return not self._is_reasoning and any(
            not state.shortest_completion for state in self._states
        )

    @property
    def in_free_text(self) -> bool:
        """Whether the text stands inside no structure that must be finished."""
        return not self._is_reasoning and any(state.in_free_text for state in self._states)

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here and has a structure, so that it cannot have been cut."""
        return any(not state.shortest_completion and state.is_structured for state in self._states)

    @property
    def is_finished(self) -> bool:
        """Whether no token can follow."""
        return all(state.is_finished for state in self._states)

    def allowed_tokens(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab,)."""
        if self._is_reasoning:
            mask = self._grammars.any_text()
            mask[self._own_end_ids] = False
            return mask
        first, *others = [state.allowed_tokens() for state in self._states]
        for mask in others:
            first = first | mask
        if not (self._rejected or self._reasoning or self._own_end_ids):
            return first
        first = first.copy()
        first[list(self._rejected)] = False
        first[self._own_end_ids] = first[self._end_ids].any()
        if self._reasoning:
            first[self._reasoning.first_token] = True
        return first

    def advance(self, token: int) -> int | None:
        """Accepts the drawn token, or appends the token that has to stand in its place.

        Args:
            token: One of the allowed tokens.

        Returns:
            The token that was appended: the drawn one, or the next one of the shortest completion
            where the drawn one would leave too few tokens. None where nothing was appended and
            another token is to be drawn, as `weights` and `allowed_tokens` now are.
        """
        if token in self._own_end_ids:
            masks = [state.allowed_tokens() for state in self._states]
            end = next(end for end in self._end_ids if any(mask[end] for mask in masks))
            appended = self._advance(end)
            return token if appended == end else appended
        return self._advance(token)

    def _advance(self, token: int) -> int | None:
        """`advance`, with an end token of the engine in the place of the request's own."""
        before = self.weights
        possible = [state for state in self._states if state.allowed_tokens()[token]]
        if self._reasoning and not self._reasoning.has_begun:
            self._begin_or_skip_reasoning(self._reasoning, token, bool(possible))
        if self._reasoning:
            return self._advance_reasoning(self._reasoning, token)
        if not possible:
            raise GenerationError(f"The token {token} is not one that the grammar allows.")
        if len(possible) == 1:
            self._states = possible
        if self.weights != before:
            return None
        accepting = [state for state in possible if state.advance(token, self._left - 1)]
        if accepting:
            return self._append(token, accepting)
        return self._append_shortest(token, possible)

    @property
    def _is_reasoning(self) -> bool:
        return self._reasoning is not None and self._reasoning.has_begun

    def _states_that_fit(
        self, request: GenerationRequest, deadline: Deadline
    ) -> list[GrammarState]:
        """The states of the alternatives that can be finished within the room."""
        room = self._left
        if request.thoughts_end and not request.thoughts_begin:
            room -= end_length(request.thoughts_end, self._grammars)
        states = [
            GrammarState(
                each, request, self._grammars.compile(each.grammar, deadline, request.user_id)
            )
            for each in request.alternatives
        ]
        lengths = [len(state.shortest_completion) for state in states]
        if max(lengths) > room and self._left < request.sampling.max_new_tokens:
            raise ContextLengthError(
                f"The contexts leave room for {max(room, 0)} tokens of an answer, but what it may "
                f"be has {max(lengths)} at least. Shorten the conversation, the tools or the "
                "schema."
            )
        if min(lengths) > room:
            raise InvalidRequestError(
                f"There is room for {max(room, 0)} tokens, but the shortest answer found for the "
                f"schema (or grammar) has {min(lengths)}. Ask for more tokens or for less in the "
                "answer.",
                param="max_tokens",
            )
        return [state for state in states if len(state.shortest_completion) <= room]

    def _reasoning_of(self, request: GenerationRequest) -> ReasoningState | None:
        """The reasoning, which leaves half of the tokens to the answer, and enough to finish it."""
        longest = max(len(state.shortest_completion) for state in self._states)
        end = str(request.thoughts_end)
        room = self._left - max(self._left // 2, longest) - end_length(end, self._grammars)
        if request.thoughts_begin and room < 1:
            return None
        return ReasoningState(request.thoughts_begin, end, self._grammars, room)

    def _begin_or_skip_reasoning(
        self, reasoning: ReasoningState, token: int, in_grammar: bool
    ) -> None:
        if reasoning.is_begun_by(token) or (token == reasoning.first_token and not in_grammar):
            reasoning.begin()
        else:
            self._reasoning = None

    def _advance_reasoning(self, reasoning: ReasoningState, token: int) -> int:
        token = reasoning.advance(token)
        self._left -= 1
        if reasoning.is_over:
            self._reasoning = None
        return token

    def _append_shortest(self, refused: int, possible: list[GrammarState]) -> int | None:
        """Appends the next token of a shortest completion; None where that was refused, too."""
        completions = [state.shortest_completion for state in possible]
        token = next((tokens[0] for tokens in completions if tokens), None)
        if token is None or token in self._rejected:
            self._rejected.add(refused)
            return None
        self.shortened = True
        possible = [state for state in self._states if state.allowed_tokens()[token]]
        return self._append(
            token, [state for state in possible if state.advance(token, self._left - 1)]
        )

    def _append(self, token: int, states: list[GrammarState]) -> int:
        self._states = states
        self._left -= 1
        self._rejected.clear()
        return token
