"""Checks requests against the model and the limits, and prepares them for the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.decoding.completion_text import CompletionText, special_tokens
from amulet_integrations.engine.backends.base import ModelDescription
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.errors import ContextLengthError, InvalidRequestError

from .limits import EngineLimits
from .request import GenerationRequest
from .request_log import log_refusals
from .sequence import Emit, Sequence


class RequestValidator:
    """Turns requests into sequences, or refuses them. May be used from any thread.

    Args:
        model: What is known of the model.
        limits: The engine's limits.
        grammars: Compiles the grammars of requests.
    """

    def __init__(
        self, model: ModelDescription, limits: EngineLimits, grammars: GrammarCompiler
    ) -> None:
        self._model = model
        self._limits = limits
        self._grammars = grammars

    @log_refusals()
    def process(
        self, request: GenerationRequest, emit: Emit, deadline: Deadline | None = None
    ) -> Sequence:
        """Makes the sequence of a request, which gives its output to `emit`.

        Args:
            request: The request.
            emit: As in `Sequence`.
            deadline: The request's own, where it has started before.

        Raises:
            ContextLengthError: A context leaves no room in the context window, or the request
                needs more memory for keys and values than there is.
            InvalidRequestError: It has more contexts than `max_rows`, or a token id is not in the
                vocabulary.
            RequestTimeoutError: The time was up while its grammars were compiled.
            UnsupportedGrammarError: A grammar of the request cannot be enforced.
        """
        self.check_rows(len(request.running_contexts))
        longest = max(map(len, request.running_contexts))
        self._check_length(longest)
        for ids in (*request.contexts, request.end_ids):
            self._check_tokens(ids)
        own_ends = (token for token in request.end_ids if token < self._model.logits_size)
        end_ids = self._model.end_ids.union(own_ends)
        sequence = Sequence(
            request,
            emit,
            deadline or request.start_deadline(),
            text=self._text(request, end_ids),
            device=self._model.device,
            end_ids=end_ids,
            room=self._model.context_window - longest,
            grammars=self._grammars,
            max_draft=self._limits.prompt_lookup_num_tokens,
        )
        self._check_memory(sequence.max_lengths)
        return sequence

    def check_rows(self, contexts: int) -> None:
        """Refuses more contexts than are decoded at once.

        Raises:
            InvalidRequestError: There are more than `max_rows`.
        """
        if contexts > self._limits.max_rows:
            raise InvalidRequestError(
                f"The request has {contexts:,} contexts; the engine decodes at most "
                f"max_rows={self._limits.max_rows:,} at once. Give it fewer preferences, or "
                "preferences of weight 1, which share a context; or raise max_rows of the engine."
            )

    def check_scoring(
        self, contexts: SequenceOf[SequenceOf[int]], completion: SequenceOf[int]
    ) -> None:
        """Refuses contexts and a completion that cannot be scored.

        Raises:
            ContextLengthError: They are longer than the context window or the memory.
            InvalidRequestError: A token id is not in the vocabulary.
        """
        for ids in contexts:
            self._check_length(len(ids) + len(completion) - 1)
        for ids in (*contexts, completion):
            self._check_tokens(ids)
        self._check_memory([len(ids) + len(completion) for ids in contexts])

    def _text(self, request: GenerationRequest, end_ids: Iterable[int]) -> CompletionText:
        """What makes the text of a request's completion."""
        hidden: dict[int, str] = {}
        if request.sampling.stop:
            hidden = dict(self._special_tokens) if request.skip_special_tokens else {}
            hidden |= {token: self._grammars.text_of(token) for token in end_ids}
        return CompletionText(
            self._model.tokenizer,
            request.sampling.stop,
            hidden,
            skip_special_tokens=request.skip_special_tokens,
        )

    @cached_property
    def _special_tokens(self) -> Mapping[int, str]:
        return special_tokens(self._model.tokenizer)

    def _check_memory(self, lengths: SequenceOf[int]) -> None:
        needed, limit = self._model.cache_tokens(lengths), self._limits.max_cache_tokens
        if limit is not None and needed > limit:
            raise ContextLengthError(
                f"The request needs key/value memory for {needed} tokens: {len(lengths)} contexts "
                f"of up to {max(lengths)} tokens, and what is allocated ahead. The engine has "
                f"max_cache_tokens={limit}. Lower max_new_tokens, shorten the prompt, or raise the "
                "limit."
            )

    def _check_length(self, tokens: int) -> None:
        window = self._model.context_window
        if tokens >= window:
            raise ContextLengthError(
                f"A context of {tokens} tokens leaves no room in the context window of {window} "
                f"tokens of {self._model.model_name!r}. Shorten the conversation or the "
                "documents in it."
            )

    def _check_tokens(self, ids: Iterable[int]) -> None:
        highest = max(ids, default=0)
        if highest >= self._model.vocab_size:
            raise InvalidRequestError(
                f"Token id {highest} is not in the vocabulary of {self._model.vocab_size} "
                f"entries of {self._model.model_name!r}. Was the prompt made with another "
                "model's tokenizer?"
            )
