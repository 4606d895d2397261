"""All the state of one running request, in one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.decoding.logits_filters import LogitsFilters
from amulet_integrations.engine.kv.prefix_cache import as_tokens
from amulet_integrations.engine.sampling.prompt_lookup import PromptLookup
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.engine.structured.output_state import StructuredOutputState
from amulet_integrations.errors import (
    AmuletError,
    IncompleteOutputError,
    RequestCancelledError,
    RequestTimeoutError,
)

from .request import GenerationRequest
from .request_log import RequestLog
from .result import FinishReason, Increment, TokenExplanation, TokenLogprob, Usage

if TYPE_CHECKING:
    import torch

    from amulet_integrations.decoding.completion_text import CompletionText
    from amulet_integrations.engine.structured.grammar import GrammarCompiler


class Bound(NamedTuple):
    """A bound on the divergence of a token's policy from the mixture at guidance 1.

    Attributes:
        reference: The weights of that mixture, for the contexts that are run.
        max_kl: The bound, in nats.
    """

    reference: Weights
    max_kl: float


Emit = Callable[[Increment | AmuletError], object]
"""Receives a request's output: increments, the last one with a finish reason, or one error."""


class Sequence:
    """One request from submission to its last token.

    Args:
        request: The request.
        emit: Receives the increments, or the error. It is called on the worker thread and must not
            block.
        deadline: Until when it may take, as `GenerationRequest.start_deadline` returns it.
        text: Makes the text of the completion.
        device: The device of the logits.
        end_ids: Tokens that end the text.
        room: Most tokens that the context window leaves for the completion.
        grammars: Compiles the grammars of the request.
        max_draft: Most tokens of a draft; 0 for no drafts.

    Attributes:
        contexts: The contexts that are run: those of weight 0 are left out.
        prompts: The same as arrays, for comparisons.
        user_id: The user whose request it is; None for nobody in particular.
        cache_salt: The salt of the requests that it shares computed prefixes with.
        log: Times the request and writes what became of it.
        max_lengths: The most tokens that each context's row may hold, completion included.
        cached_tokens: For each context, the tokens that had been computed before.
        first_logits: The logits after each context whose prefill is complete, shape (vocab,),
            until the first token is sampled.
        policy: The request's own policy, if it brings one.
        output_state: Keeps the completion to the request's alternatives; None where it has none.
        end_ids: Tokens that end the text.
        min_tokens: Tokens before which none of `end_ids` is drawn.
        logprobs: How many of the likeliest tokens each increment contains; None for no
            log-probabilities at all.
        explain: How many of the likeliest tokens each policy of an explanation names; None for no
            explanations.
        reference: The weights of the contexts at guidance 1, for explanations.
        completion: Tokens generated so far; the same for every context.
        done: Whether the last increment or an error has been emitted.
        is_sound: Whether nothing went wrong with it, so that its keys and values can be kept.

    Raises:
        InvalidRequestError: No alternative can be finished within the tokens that are left.
        RequestTimeoutError: The time was up while a grammar was compiled.
        UnsupportedGrammarError: A grammar cannot be enforced.
        UnsupportedModelError: Grammars cannot be enforced with the model's tokenizer.
    """

    def __init__(
        self,
        request: GenerationRequest,
        emit: Emit,
        deadline: Deadline,
        *,
        text: CompletionText,
        device: torch.device,
        end_ids: frozenset[int],
        room: int,
        grammars: GrammarCompiler,
        max_draft: int = 0,
    ) -> None:
        self._deadline = deadline
        self.user_id = request.user_id
        self.cache_salt = request.cache_salt
        self.policy = request.policy
        self.contexts = request.running_contexts
        self.prompts = [as_tokens(ids) for ids in self.contexts]
        self.log = RequestLog(len(request.contexts[0]), tuple(map(len, self.contexts)))
        self.cached_tokens = [0] * len(self.contexts)
        self.first_logits: dict[int, torch.Tensor] = {}
        self.end_ids = end_ids
        self.min_tokens = request.sampling.min_new_tokens
        self.logprobs = request.logprobs
        self.explain = request.explain
        self.reference = request.explained_reference
        self.completion: list[int] = []
        self.filters = LogitsFilters(request.sampling, device)
        self.done = False
        self.is_sound = True
        self._grammars = grammars
        self._prompt_tokens = len(request.contexts[0])
        self._emit = emit
        self._max_tokens = min(request.sampling.max_new_tokens, room)
        self.max_lengths = [len(ids) + self._max_tokens for ids in self.contexts]
        self.output_state = (
            StructuredOutputState(request, grammars, self._max_tokens, end_ids, deadline)
            if request.alternatives
            else None
        )
        self._weights = None if request.policy else request.running_weights(None)
        self._max_kl = request.max_kl
        self._reference = request.running_reference
        self._runs_base = request.running[0] == 0
        self._text = text
        self._free = self._is_free()
        self._max_draft = max_draft
        self._lookup: PromptLookup | None = None

    @property
    def weights(self) -> Weights | None:
        """The mixture that the next token is drawn with; None if the request has a policy."""
        return self.output_state.weights if self.output_state else self._weights

    @property
    def bound(self) -> Bound | None:
        """The bound on the next token's policy; None if it has none.

        A mixture of the first context alone, and the reference itself, are never bounded.
        """
        weights = self.weights
        if self._max_kl is None or self._reference is None or weights in (None, self._reference):
            return None
        if self._runs_base and not any(weights[1:]):
            return None
        return Bound(self._reference, self._max_kl)

    @property
    def chooses_alone(self) -> bool:
        """Whether its draws may be repeated, or are reported from the policy itself."""
        return bool(self.output_state) or self.logprobs is not None

    @property
    def is_bounded(self) -> bool:
        """Whether some of its tokens have a bound."""
        return self._reference is not None

    @property
    def is_prefilled(self) -> bool:
        """Whether the prefill of every context is complete."""
        return len(self.first_logits) == len(self.contexts)

    def take_first_logits(self) -> list[torch.Tensor]:
        """Returns `first_logits` in the order of the contexts, and drops them."""
        taken = [self.first_logits[index] for index in range(len(self.contexts))]
        self.first_logits.clear()
        return taken

    def draft(self, limit: int) -> list[int]:
        """Guesses the next tokens, `limit` at most, from the longest context."""
        limit = min(limit, self._max_draft, self._max_tokens - len(self.completion) - 1)
        if limit < 1:
            return []
        if self._lookup is None:
            longest = max(self.contexts, key=len)
            self._lookup = PromptLookup([*longest, *self.completion], self._max_draft)
        return self._lookup.draft(limit)

    def update_acceptance(self, drafted: int, accepted: int) -> None:
        """Adapts the drafts to come to how many tokens of the last draft were accepted."""
        if self._lookup is not None and drafted:
            self._lookup.update_acceptance(drafted, accepted)

    def text_of(self, token: int) -> str:
        """Returns a token's text by itself."""
        return self._grammars.text_of(token)

    def advance(
        self,
        token: int,
        logprob: TokenLogprob | None = None,
        fraction: float | None = None,
        explanation: TokenExplanation | None = None,
    ) -> None:
        """Appends a token to every context and emits the text that becomes certain.

        Args:
            token: The token.
            logprob: The token's log-probability, if the request wants it.
            fraction: How far guidance went, as in `Increment.guidance_fractions`.
            explanation: The token's explanation, if the request wants it.
        """
        self.completion.append(token)
        if self._lookup is not None:
            self._lookup.push([token])
        ended = token in self.end_ids
        # No stop string cuts the token that opens or closes a structure.
        was_free, self._free = self._free, self._is_free()
        may_stop = was_free and self._free
        text = self._text.push(token, is_end=ended, may_stop=may_stop)
        reason = self._finish_reason(ended)
        if reason == "length" and self.output_state and not self.output_state.is_satisfied:
            self.fail(_incomplete(len(self.completion)))
            return
        if reason is not None:
            text += self._text.finish(may_stop=may_stop)
            reason = "stop" if self._text.is_stopped else reason
        self.done = reason is not None
        logprobs = () if logprob is None else (logprob,)
        self._emit_item(
            Increment(
                text,
                (token,),
                reason,
                self._usage() if self.done else None,
                logprobs,
                guidance_fractions=(fraction,) if self.is_bounded else (),
                explanations=() if explanation is None else (explanation,),
                shortened=self.done
                and self.output_state is not None
                and self.output_state.shortened,
            )
        )

    def end_if_cancelled_or_overdue(self) -> None:
        """Ends the request if it was cancelled or its time is up."""
        if self._deadline.is_cancelled:
            self.fail(RequestCancelledError("The request was cancelled."))
        elif self._deadline.is_over:
            self.fail(
                RequestTimeoutError(
                    f"The request took longer than its timeout of {self._deadline.timeout:g} s; it "
                    f"had {len(self.completion)} tokens. Ask for fewer tokens or more time."
                )
            )

    def fail(self, error: AmuletError) -> None:
        """Ends the request with an error, unless it has ended already."""
        if not self.done:
            self.done = True
            self.is_sound = isinstance(error, RequestCancelledError | RequestTimeoutError)
            self.first_logits.clear()  # a stream that is kept must not keep tensors
            self._emit_item(error)

    def _emit_item(self, item: Increment | AmuletError) -> None:
        self.log.record(item, sum(self.cached_tokens))
        try:
            self._emit(item)
        except Exception:  # noqa: BLE001 - the event loop of its reader is closed
            self.done = True

    def _is_free(self) -> bool:
        return self.output_state is None or self.output_state.in_free_text

    def _finish_reason(self, ended: bool) -> FinishReason | None:
        if ended or self._text.is_stopped:
            return "stop"
        if self.output_state and self.output_state.is_finished:
            return "stop"
        if len(self.completion) < self._max_tokens:
            return None
        return "stop" if self.output_state and self.output_state.is_complete else "length"

    def _usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=len(self.completion),
            context_tokens=tuple(len(ids) for ids in self.contexts),
            cached_tokens=tuple(self.cached_tokens),
        )


def _incomplete(tokens: int) -> IncompleteOutputError:
    return IncompleteOutputError(
        f"The answer was not whole after {tokens} tokens, the most it may have. Ask for more "
        "tokens or for less in the answer.",
        param="max_tokens",
    )
