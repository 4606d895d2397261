"""The engine over vLLM, in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any

from amulet_integrations.decoding.completion_text import CompletionText
from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.engine.sampling.scoring import ScoringRequest
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.engine.sequence_engine import SequenceEngine
from amulet_integrations.engine.streams import GenerationStream
from amulet_integrations.engine.worker import run_on_worker

from .forced_policy import ForcedPolicy
from .start_up import check_arguments, start_vllm

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


class VLLMEngine(SequenceEngine):
    """Decodes requests with vLLM in this process. Every method may be called from any thread.

    Requests, their order of service, policies, grammars, stop strings, seeds and explanations are
    those of `LocalEngine`; vLLM computes the logits, with its paged cache, continuous batching and
    kernels. A request takes a vLLM request for each of its contexts, and they are decoded in step.

    Drafts from the prompt are not made.

    Args:
        model: Hub id, local folder, or "embedded".
        max_waiting: Most requests in the queue; one more is refused with `EngineOverloadedError`.
        **options: vLLM's engine arguments, by their own names: dtype, max_model_len, max_num_seqs,
            gpu_memory_utilization, quantization, enforce_eager, seed, … Those that spread a model
            over several processes are refused.

    Raises:
        MissingDependencyError: vLLM is not installed.
        UnsupportedByEngineError: vLLM's version is not one that this package is tested with, the
            contexts of a request cannot be kept in step under a setting, or another `VLLMEngine` is
            open in this process.
        ModelNotFoundError: There is no such checkpoint, or its files are damaged.
        UnsupportedModelError: vLLM cannot load the model, or its weights are pickles.
        UnknownArgumentError: vLLM has no such argument.
        InvalidParamsError: `max_waiting` is not a whole number of at least 0; vLLM refuses the
            value of an argument; arguments do not go together; or there is too little memory.
    """

    def __init__(self, model: str = EMBEDDED, *, max_waiting: int = 4096, **options: Any) -> None:
        EngineLimits(max_waiting=max_waiting)  # refuse it before anything is loaded
        begun = time.monotonic()
        self.check_options(**options)
        started = run_on_worker(start_vllm, model, options)
        try:
            from .vllm_core import VLLMCore  # noqa: PLC0415 - imports vLLM
            from .vllm_model import VLLMModel  # noqa: PLC0415

            self._model = VLLMModel.of(started, options)
            limits = self._model.limits(started, max_waiting)
            scheduler = Scheduler(limits, self._model)
            super().__init__(self._model, limits, scheduler, VLLMCore(scheduler, started))
            self._grammars.prepare()
        except BaseException:
            run_on_worker(started.close)
            raise
        spent = time.monotonic() - begun
        logger.info("Loaded %s in %.1f s on %s", self.model_name, spent, self._model.device)

    @staticmethod
    def check_options(**options: Any) -> None:
        """Refuses engine arguments that vLLM does not have, or that the engine sets itself.

        It imports vLLM, and loads nothing.

        Raises:
            MissingDependencyError: vLLM is not installed.
            UnsupportedByEngineError: vLLM has another version than those that are tested, or an
                argument is one of those that keep the contexts of a request in step.
            UnknownArgumentError: vLLM has no such argument.
        """
        run_on_worker(check_arguments, options)

    def score(
        self,
        contexts: SequenceOf[SequenceOf[int]],
        completion_ids: SequenceOf[int],
        mixtures: SequenceOf[SequenceOf[float]] | None = None,
        *,
        max_kl: float | SequenceOf[float | None] | None = None,
        reference_weights: SequenceOf[float] | SequenceOf[SequenceOf[float]] | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Log-probabilities of a completion, token by token; see `LocalEngine.score`.

        The completion is decoded like any other request, so that a token takes a step.

        Raises:
            InvalidRequestError: As `LocalEngine.score`, or there are more contexts than
                `limits.max_rows`, which is vLLM's `max_num_seqs`.
            ContextLengthError: Context and completion are past the context window or the memory.
            EngineOverloadedError: Too many requests wait already.
        """
        scoring = ScoringRequest.read(
            contexts,
            completion_ids,
            mixtures,
            max_kl=max_kl,
            reference_weights=reference_weights,
            temperature=temperature,
        )
        self._validator.check_rows(len(scoring.contexts))
        self._validator.check_scoring(scoring.contexts, scoring.completion_ids)
        forced = ForcedPolicy(scoring, self._model.device)
        with GenerationStream(forced.request()) as stream:
            room = len(scoring.completion_ids)
            sequence = Sequence(
                stream.request,
                stream.emit,
                stream.deadline,
                text=CompletionText(self.tokenizer),
                device=self._model.device,
                end_ids=frozenset(),  # the completion may have some anywhere
                room=room,
                grammars=self._grammars,
            )
            self._loop.enqueue([sequence])
            for _ in stream:
                pass
        return forced.scores()

    def forget_prefixes(self) -> None:
        """Drops the blocks that vLLM keeps of ended requests, if no request runs."""
        run_on_worker(self._loop.forget_prefixes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name!r}, device={str(self._model.device)!r})"
