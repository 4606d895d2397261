"""All the state of one running request, in one object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
from amulet_integrations.decoding.sampler import TokenSampler
from amulet_integrations.decoding.stopping import StopStrings
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import FinishReason, Increment, Usage
from amulet_integrations.errors import AmuletError, RequestCancelledError, RequestTimeoutError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Emit = Callable[[Increment | AmuletError], object]
"""Takes what a request gives out: increments, the last one with a finish reason, or one error."""


class Sequence:
    """One request from submission to its last token.

    Args:
        request: What was asked for.
        emit: Where increments and the error, if any, go. Called on the worker thread; must not
            block.
        tokenizer: For the text.
        device: Where policies will be.
        end_ids: Tokens that end the text.
        room: Most tokens the context window leaves for the completion.

    Attributes:
        contexts: The contexts that are run: those of weight 0 are left out.
        weights: Their weights; None where the request brings its own policy.
        completion: Tokens generated so far; the same for every context.
        done: Whether the last increment or an error has been given out.
    """

    def __init__(
        self,
        request: GenerationRequest,
        emit: Emit,
        *,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        end_ids: frozenset[int],
        room: int,
    ) -> None:
        self.policy = request.policy
        self.contexts, self.weights = request.running_contexts()
        self.completion: list[int] = []
        self.sampler = TokenSampler(request.sampling, device)
        self.done = False
        self._prompt_tokens = len(request.contexts[0])
        self._emit = emit
        self._end_ids = end_ids
        self._max_tokens = min(request.sampling.max_new_tokens, room)
        self._detokenizer = IncrementalDetokenizer(tokenizer)
        self._stops = StopStrings(request.sampling.stop)
        self._timeout = request.timeout
        self._submitted = time.monotonic()
        self._cancelled = False

    def cancel(self) -> None:
        """Asks for the request to end at the next step. May be called from any thread."""
        self._cancelled = True

    def advance(self, token: int) -> None:
        """Takes the next token of every context and gives out what becomes certain."""
        self.completion.append(token)
        ended = token in self._end_ids
        text = "" if ended else self._stops.push(self._detokenizer.push(token))
        reason = self._finish_reason(ended)
        if reason is not None:
            text += self._stops.push(self._detokenizer.flush())
            text += self._stops.flush()
            # The last bytes may have been those of a stop string.
            reason = "stop" if self._stops.found else reason
        self.done = reason is not None
        self._give(Increment(text, (token,), reason, self._usage() if self.done else None))

    def end_if_overdue(self) -> None:
        """Ends the request if it was cancelled or its time is up."""
        if self._cancelled:
            self.fail(RequestCancelledError("The request was cancelled."))
        elif self._timeout is not None and time.monotonic() - self._submitted > self._timeout:
            self.fail(
                RequestTimeoutError(
                    f"The request took longer than its timeout of {self._timeout:g} s; it had "
                    f"{len(self.completion)} tokens. Ask for fewer tokens or more time."
                )
            )

    def fail(self, error: AmuletError) -> None:
        """Ends the request with an error, unless it has ended."""
        if not self.done:
            self.done = True
            self._give(error)

    def _give(self, item: Increment | AmuletError) -> None:
        try:
            self._emit(item)
        except Exception:  # noqa: BLE001 - its reader is gone, with the event loop it lived in
            self.done = True

    def _finish_reason(self, ended: bool) -> FinishReason | None:
        if ended or self._stops.found is not None:
            return "stop"
        return "length" if len(self.completion) >= self._max_tokens else None

    def _usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=len(self.completion),
            context_tokens=tuple(len(ids) for ids in self.contexts),
        )
