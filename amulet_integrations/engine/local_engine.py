"""The engine in this process: decodes many requests in lockstep on one backend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.engine.backends.base import Backend
from amulet_integrations.engine.model_source import (
    EMBEDDED,
    LLAMA_CPP_OPTIONS,
    ModelSource,
    with_llama_cpp_options,
)
from amulet_integrations.engine.sampling.scoring import ScoringRequest, score_in_steps
from amulet_integrations.errors import (
    InvalidRequestError,
    UnknownArgumentError,
    UnsupportedModelError,
)

from .core import EngineCore
from .limits import EngineLimits
from .scheduler import Scheduler
from .sequence_engine import SequenceEngine
from .worker import run_on_worker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LIMITS = frozenset(field.name for field in fields(EngineLimits))

T = TypeVar("T")


class LocalEngine(SequenceEngine):
    """Decodes requests on this machine. Every method may be called from any thread.

    All torch work is done on one thread of the process (`run_on_worker`). A request that arrives
    while others run joins them at the next step and changes none of their tokens.

    Args:
        model: A decoder-only transformers model, in eval mode and on its device; or a `Backend`,
            without a tokenizer and without any of the next four arguments.
        tokenizer: The model's tokenizer.
        model_name: The checkpoint's name; by default the config's.
        fingerprint: Equal for engines that give equal answers; by default every engine has its own.
        cuda_graphs: Whether decode steps are recorded as CUDA graphs and replayed, on a model that
            is whole on one CUDA device. Each graph takes memory of its own.
        **limits: The fields of `EngineLimits`: max_rows, max_waiting, max_prefill_tokens,
            max_cache_tokens, max_prefix_tokens, prompt_lookup_num_tokens.

    Attributes:
        backend: What computes the logits.
        limits: All limits, with every default filled in.
        context_window: Most tokens of prompt and completion. For models with two sets of rotary
            frequencies (longrope), it ends where the first set does.
        end_ids: The tokens that end a text: the checkpoint's, and the one with which its chat
            template ends a turn of the assistant's.

    Raises:
        UnsupportedModelError: The model keeps a state that contexts of unequal length cannot share,
            or a trial of a few tokens before its first use shows that its tokens would be wrong.
        InvalidParamsError: A limit is not a whole number above 0.
        InvalidRequestError: `cuda_graphs` is set, and the model is not whole on one CUDA device.
        UnknownArgumentError: There is no such argument.
    """

    def __init__(
        self,
        model: PreTrainedModel | Backend,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        model_name: str | None = None,
        fingerprint: str | None = None,
        cuda_graphs: bool = False,
        **limits: int | None,
    ) -> None:
        if unknown := limits.keys() - LIMITS:
            raise UnknownArgumentError.for_names("LocalEngine", unknown, LIMITS)
        self.backend: Backend
        if not isinstance(model, Backend):
            from amulet_integrations.engine.backends.transformers.backend import (  # noqa: PLC0415
                TransformersBackend,
            )

            if tokenizer is None:
                raise InvalidRequestError(
                    f"LocalEngine of a {type(model).__name__} needs the model's tokenizer too."
                )
            self.backend = TransformersBackend(
                model,
                tokenizer,
                model_name=model_name,
                fingerprint=fingerprint,
                cuda_graphs=cuda_graphs,
            )
        elif tokenizer is None and not (model_name or fingerprint or cuda_graphs):
            self.backend = model
        else:
            raise InvalidRequestError(
                f"A {type(model).__name__} has its own tokenizer, model_name, fingerprint and "
                "cuda_graphs. Leave these arguments out."
            )
        own_limits = EngineLimits(**limits).with_defaults(self.backend)  # type: ignore[arg-type]
        scheduler = Scheduler(own_limits, self.backend)
        super().__init__(self.backend, own_limits, scheduler, EngineCore(self.backend, scheduler))

    @classmethod
    def from_pretrained(cls, model: str = EMBEDDED, **options: Any) -> Self:
        """Loads a checkpoint with transformers, or a GGUF file with llama.cpp.

        Args:
            model: Hub id, local folder, GGUF file, "ollama:" and the name of a model of Ollama's,
                or "embedded".
            **options: The other fields of `ModelSource` (backend, dtype, device, device_map,
                revision, local_files_only, trust_remote_code, quantization_config,
                attn_implementation, gguf_file, chat_template, …), of `LlamaCppOptions`
                (n_gpu_layers, n_ctx, n_threads, flash_attn, …) and of `EngineLimits` (max_rows,
                max_waiting, …); and `cuda_graphs`.

        Raises:
            ModelNotFoundError: There is no such checkpoint or file.
            UnsupportedModelError: It is not decoder-only, it needs code of its own, it is damaged,
                its tokenizer is another than llama.cpp's, or a trial of a few tokens shows that its
                tokens would be wrong.
            MissingDependencyError: It needs a package that is not installed.
            UnknownArgumentError: There is no such argument.
            InvalidParamsError: A limit is not a whole number above 0, or an option is out of its
                range.
            InvalidRequestError: An option is not one of the backend that runs the model.
        """
        options = with_llama_cpp_options(options)
        known = ModelSource.__dataclass_fields__.keys() | LIMITS | {"cuda_graphs"}
        if unknown := options.keys() - known:
            known |= LLAMA_CPP_OPTIONS
            raise UnknownArgumentError.for_names("from_pretrained", unknown, known)
        limits = {name: options.pop(name) for name in options.keys() & LIMITS}
        EngineLimits(**limits)  # refuse them before anything is loaded
        cuda_graphs = options.pop("cuda_graphs", False)
        source = ModelSource(model, **options)
        return cls.from_source(source, cuda_graphs=cuda_graphs, **limits)

    @classmethod
    def from_source(
        cls, source: ModelSource, *, cuda_graphs: bool = False, **limits: int | None
    ) -> Self:
        """Loads the model of a `ModelSource`; see `from_pretrained`."""
        source.check_backend()
        begun = time.monotonic()
        if source.uses_llama_cpp:
            if cuda_graphs:
                raise InvalidRequestError(
                    "cuda_graphs=True is for models that transformers runs: llama.cpp records "
                    "graphs of its own. Leave it out."
                )
            from amulet_integrations.engine.backends.llama_cpp.llama_loader import (  # noqa: PLC0415
                load_llama_cpp,
            )

            backend = run_on_worker(load_llama_cpp, source)
            engine = cls(
                backend, None, model_name=None, fingerprint=None, cuda_graphs=False, **limits
            )
        else:
            from amulet_integrations.engine.backends.transformers.loading.loader import (  # noqa: PLC0415
                load_model,
            )

            model, tokenizer = run_on_worker(load_model, source)
            engine = cls(
                model,
                tokenizer,
                model_name=source.model,
                fingerprint=source.key,
                cuda_graphs=cuda_graphs,
                **limits,
            )
        # Users expect to wait here, and not for the first answer in an event loop.
        engine._grammars.prepare()
        spent = time.monotonic() - begun
        logger.info("Loaded %s in %.1f s on %s", source.model, spent, engine.backend.device)
        return engine

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
        """Log-probabilities of a completion, token by token.

        Requests that are being decoded take turns with it, a few tokens at a time.

        Args:
            contexts: Token ids of each context, none empty.
            completion_ids: The completion, at least one token.
            mixtures: Rows of finite weights, shape (mixtures, contexts). Each row w scores under
                softmax(sum_k w_k log pi_k); all share the same forward passes. A row needs not
                add up to 1 where it has no bound. A token that is -inf in a context of nonzero
                weight is excluded, as in decoding. None scores under each context by itself.
            max_kl: A bound in nats on the divergence of every token's policy from the mixture
                `reference_weights`, as in `GenerationRequest`: one for all mixtures, or one for
                each, None among them for no bound. The first context alone is never bounded.
            reference_weights: The mixture at guidance 1, from which bounds are measured, or rows
                of one for each mixture. By default the second context alone, where there are two.
            temperature: Divides the log-probabilities once they are mixed and bounded.

        Returns:
            Shape (contexts, tokens), or (mixtures, tokens) with `mixtures`; float32, on the CPU.

        Raises:
            InvalidRequestError: A context or the completion is missing, is empty or has unknown
                token ids; there is a row of `mixtures` that is not one finite weight for each
                context, or that has a bound and does not add up to 1; `max_kl` is negative, not
                finite, not one for each mixture, or given without mixtures; `reference_weights`
                are missing, do not fit, or are given without `max_kl`; or `temperature` is not
                finite and above 0.
            ContextLengthError: Context and completion are past the context window, or past the
                memory that there is for keys and values.
        """
        request = ScoringRequest.read(
            contexts,
            completion_ids,
            mixtures,
            max_kl=max_kl,
            reference_weights=reference_weights,
            temperature=temperature,
        )
        self._validator.check_scoring(request.contexts, request.completion_ids)
        steps = score_in_steps(
            self.backend, request, max_prefill_tokens=self.limits.max_prefill_tokens or 1
        )
        pieces: list[Tensor] = []
        try:
            while run_on_worker(self._score_on, steps, pieces):
                pass
        finally:
            run_on_worker(steps.close)
        return run_on_worker(partial(torch.cat, dim=1), pieces)

    def forget_prefixes(self) -> None:
        """Drops the keys and values that are kept of ended requests.

        Call it after you have changed the weights of your own model in place: what was computed
        with the former weights is of no use. A model that the engine has loaded may hold copies of
        its weights, which do not change with them.
        """
        run_on_worker(self._loop.forget_prefixes)

    def run_model(self, function: Callable[[PreTrainedModel], T]) -> T:
        """Runs a function of the transformers model on the worker thread.

        Running requests wait meanwhile.

        Raises:
            EngineClosedError: The engine was closed.
            UnsupportedModelError: The backend has no transformers model.
        """

        def run() -> T:
            self._loop.check_open()
            model = getattr(self.backend, "model", None)
            if model is None:
                raise UnsupportedModelError(
                    f"{type(self.backend).__name__} has no transformers model to run a function "
                    "of. Load the model with LocalEngine.from_pretrained."
                )
            return function(model)

        return run_on_worker(run)

    @cached_property
    def model_fingerprint(self) -> str:
        """Equal for engines of the same checkpoint, whatever it is called.

        It is computed at the first access, on the worker thread.

        Raises:
            EngineClosedError: The engine was closed before that.
        """

        def compute() -> str:
            self._loop.check_open()
            return self.backend.model_fingerprint()

        return run_on_worker(compute)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name!r}, device={str(self.backend.device)!r})"

    def _score_on(self, steps: Iterator[Tensor], pieces: list[Tensor]) -> bool:
        """Runs the next step of scoring; returns whether there was one.

        On the worker thread, where the engine cannot be closed in between.
        """
        self._loop.check_open()
        piece = next(steps, None)
        if piece is not None:
            pieces.append(piece)
        return piece is not None
