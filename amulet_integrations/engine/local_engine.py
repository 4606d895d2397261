"""The engine in this process: decodes many requests in lockstep on one backend."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import torch
from torch import Tensor

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.backends.base import Backend
from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.engine.sampling.scored_mixtures import read_mixtures, read_temperature
from amulet_integrations.engine.sampling.scoring import score_in_steps
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.errors import (
    AmuletError,
    InvalidRequestError,
    UnknownArgumentError,
    UnsupportedModelError,
)

from .limits import EngineLimits, EngineStats
from .loop import EngineLoop
from .request import GenerationRequest
from .request_validator import RequestValidator
from .result import GenerationResult
from .sequence import Emit, Sequence
from .streams import (
    AsyncGenerationStream,
    GenerationStream,
    StreamReader,
    attempt,
    cancel_all,
    raise_first,
    read_to_end,
)
from .worker import run_on_worker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LIMITS = frozenset(field.name for field in fields(EngineLimits))

S = TypeVar("S", bound=StreamReader)
T = TypeVar("T")


class LocalEngine:
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

    supports_explain = True

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
        self.limits: EngineLimits = EngineLimits(**limits).with_defaults(self.backend)  # type: ignore[arg-type]
        self.tokenizer = self.backend.tokenizer
        self.model_name: str = self.backend.model_name
        self.fingerprint: str = self.backend.fingerprint
        self.context_window: int = self.backend.context_window
        self.end_ids: frozenset[int] = self.backend.end_ids
        self._grammars = GrammarCompiler(self.tokenizer, self.backend.logits_size, self.end_ids)
        self._validator = RequestValidator(self.backend, self.limits, self._grammars)
        self._loop = EngineLoop(self.backend, self.limits)
        self._is_warm = False

    @classmethod
    def from_pretrained(cls, model: str = EMBEDDED, **options: Any) -> Self:
        """Loads a checkpoint with transformers.

        Args:
            model: Hub id, local folder, or "embedded".
            **options: The other fields of `ModelSource` (dtype, device, device_map, revision,
                local_files_only, trust_remote_code, quantization_config, attn_implementation, …)
                and those of `EngineLimits` (max_rows, max_waiting, …); and `cuda_graphs`.

        Raises:
            ModelNotFoundError: There is no such checkpoint.
            UnsupportedModelError: It is not decoder-only, it needs code of its own, or a trial of a
                few tokens shows that its tokens would be wrong.
            MissingDependencyError: It needs a package that is not installed.
            UnknownArgumentError: There is no such argument.
            InvalidParamsError: A limit is not a whole number above 0.
        """
        known = ModelSource.__dataclass_fields__.keys() | LIMITS | {"cuda_graphs"}
        if unknown := options.keys() - known:
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
        from amulet_integrations.engine.backends.transformers.loading.loader import (  # noqa: PLC0415
            load_model,
        )

        begun = time.monotonic()
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

    def warm_up(self) -> None:
        """Does ahead what the first request would wait for: a step of two contexts on the device.

        Calling it again does nothing more.

        Raises:
            EngineClosedError: The engine was closed.
            GenerationError: The model fails.
        """
        self._loop.check_open()
        if self._is_warm:
            return
        self._grammars.prepare()
        two_tokens = SamplingParams(max_new_tokens=2, min_new_tokens=2)
        request = GenerationRequest(contexts=[[0], [0, 0]], weights=(-1, 2), sampling=two_tokens)
        self.generate([request])
        self._is_warm = True

    async def awarm_up(self) -> None:
        """`warm_up` for asyncio."""
        await REQUEST_THREADS.start(self.warm_up)

    def validate(self, request: GenerationRequest) -> None:
        """Refuses a request that `stream` would refuse, and decodes nothing.

        Whether there is room in the queue is known only when a request is submitted.

        Raises:
            AmuletError: As `stream`.
        """
        self._loop.check_open()
        stream = GenerationStream(request)
        self._validator.process(request, stream.emit, stream.deadline)

    def stream(self, request: GenerationRequest) -> GenerationStream:
        """Submits a request at once and returns its increments as they come.

        Closing the stream, or dropping it, cancels the request.

        Raises:
            ContextLengthError: A context leaves no room in the context window.
            InvalidRequestError: A token id is not in the vocabulary.
            EngineClosedError: The engine was closed.
            EngineOverloadedError: Too many requests wait already.
            RequestTimeoutError: The time was up while a grammar was compiled.
            UnsupportedGrammarError: The grammar of an alternative cannot be enforced.
        """
        stream = GenerationStream(request)
        self._submit(request, stream.emit, stream.deadline)
        return stream

    def astream(self, request: GenerationRequest) -> AsyncGenerationStream:
        """`stream` for asyncio. It is not a coroutine; call it while the loop runs."""
        stream = AsyncGenerationStream(request)
        submit = partial(self._submit, request, stream.emit, stream.deadline)
        if _takes_a_while(request):
            stream.submit_on_thread(submit)
        else:
            submit()
        return stream

    @overload
    def generate(
        self,
        requests: SequenceOf[GenerationRequest],
        *,
        return_exceptions: Literal[False] = ...,
    ) -> list[GenerationResult]: ...

    @overload
    def generate(
        self, requests: SequenceOf[GenerationRequest], *, return_exceptions: bool
    ) -> list[GenerationResult | AmuletError]: ...

    def generate(
        self, requests: SequenceOf[GenerationRequest], *, return_exceptions: bool = False
    ) -> SequenceOf[GenerationResult | AmuletError]:
        """Decodes requests together.

        Args:
            requests: The requests. They are submitted together; other requests run beside them.
            return_exceptions: Whether the error of a request that fails takes its result's place,
                as with `asyncio.gather`. Otherwise the first error is raised: before anything is
                computed if a request is refused, else when the others are done.

        Raises:
            AmuletError: As `stream`, and `GenerationError` if decoding fails.
        """
        streams = _open_all(GenerationStream, requests)
        try:
            sequences = [attempt(self._process, stream) for stream in streams]
            streams = self._enqueue_all(streams, sequences, return_exceptions)
            results = [
                stream
                if isinstance(stream, AmuletError)
                else attempt(GenerationResult.fold, stream)
                for stream in streams
            ]
        finally:
            cancel_all(streams)
        return results if return_exceptions else raise_first(results)

    @overload
    async def agenerate(
        self,
        requests: SequenceOf[GenerationRequest],
        *,
        return_exceptions: Literal[False] = ...,
    ) -> list[GenerationResult]: ...

    @overload
    async def agenerate(
        self, requests: SequenceOf[GenerationRequest], *, return_exceptions: bool
    ) -> list[GenerationResult | AmuletError]: ...

    async def agenerate(
        self, requests: SequenceOf[GenerationRequest], *, return_exceptions: bool = False
    ) -> SequenceOf[GenerationResult | AmuletError]:
        """`generate` for asyncio; cancelling the task cancels the requests."""
        streams = _open_all(AsyncGenerationStream, requests)
        try:
            sequences = await asyncio.gather(*map(self._aprocess, streams))
            streams = self._enqueue_all(streams, sequences, return_exceptions)
            results = [
                stream if isinstance(stream, AmuletError) else await read_to_end(stream)
                for stream in streams
            ]
        finally:
            cancel_all(streams)
        return results if return_exceptions else raise_first(results)

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
        # A request of the same contexts has the same rules; its completion is one context more.
        contexts = GenerationRequest(contexts=contexts, policy=len).contexts
        (completion,) = GenerationRequest(contexts=[completion_ids]).contexts
        temperature = read_temperature(temperature)
        scored = read_mixtures(
            mixtures,
            max_kl,
            reference_weights,
            contexts=len(contexts),
            temperature=temperature,
        )
        self._validator.check_scoring(contexts, completion)
        steps = score_in_steps(
            self.backend,
            contexts,
            completion,
            scored,
            temperature=temperature,
            max_prefill_tokens=self.limits.max_prefill_tokens or 1,
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

    @property
    def stats(self) -> EngineStats:
        """How many requests run and wait now."""
        return self._loop.stats

    def close(self) -> None:
        """Ends running requests with `EngineClosedError` and frees the model."""
        self._loop.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name!r}, device={str(self.backend.device)!r})"

    def _process(self, stream: StreamReader | AmuletError) -> Sequence:
        if isinstance(stream, AmuletError):
            raise stream
        return self._validator.process(stream.request, stream.emit, stream.deadline)

    async def _aprocess(
        self, stream: AsyncGenerationStream | AmuletError
    ) -> Sequence | AmuletError:
        if isinstance(stream, AmuletError) or not _takes_a_while(stream.request):
            return attempt(self._process, stream)
        try:
            return await REQUEST_THREADS.arun(
                partial(self._process, stream),
                deadline=stream.deadline,
                user_id=stream.request.user_id,
            )
        except AmuletError as error:
            return error

    def _enqueue_all(
        self,
        streams: SequenceOf[S | AmuletError],
        sequences: SequenceOf[Sequence | AmuletError],
        keep_errors: bool,
    ) -> list[S | AmuletError]:
        """Submits requests together; returns their streams, or the errors of those refused."""
        if not keep_errors:
            raise_first(sequences)
        try:
            self._loop.enqueue(each for each in sequences if isinstance(each, Sequence))
        except AmuletError as error:  # for all of them: the queue is full, or the engine closed
            if not keep_errors:
                raise
            sequences = [each if isinstance(each, AmuletError) else error for each in sequences]
        pairs = zip(streams, sequences, strict=True)
        return [each if isinstance(each, AmuletError) else stream for stream, each in pairs]

    def _score_on(self, steps: Iterator[Tensor], pieces: list[Tensor]) -> bool:
        """Runs the next step of scoring; returns whether there was one.

        On the worker thread, where the engine cannot be closed in between.
        """
        self._loop.check_open()
        piece = next(steps, None)
        if piece is not None:
            pieces.append(piece)
        return piece is not None

    def _submit(self, request: GenerationRequest, emit: Emit, deadline: Deadline) -> None:
        self._loop.enqueue([self._validator.process(request, emit, deadline)])


def _open_all(
    kind: Callable[[GenerationRequest], S], requests: SequenceOf[GenerationRequest]
) -> list[S | AmuletError]:
    given: object = requests
    if isinstance(given, GenerationRequest):
        raise InvalidRequestError("generate takes a list of requests; this is one request.")
    return [attempt(kind, request) for request in requests]


def _takes_a_while(request: GenerationRequest) -> bool:
    """Whether the request has grammars to compile, for which no event loop must wait."""
    return bool(request.alternatives)
