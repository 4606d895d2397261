"""What engines of this process share: requests become sequences, and a loop decodes those."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, TypeVar, overload

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.errors import AmuletError, InvalidRequestError

from .limits import EngineLimits, EngineStats
from .loop import EngineLoop, LoopCore
from .request import GenerationRequest
from .request_validator import RequestValidator
from .result import GenerationResult
from .scheduler import Scheduler
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

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from amulet_integrations.engine.backends.base import ModelDescription

S = TypeVar("S", bound=StreamReader)


class SequenceEngine:
    """Checks requests, queues them, and hands out their increments. Safe to call from any thread.

    Args:
        model: What is known of the model.
        limits: All limits, with every default filled in.
        scheduler: Which requests run and which wait.
        core: Gives the admitted requests their tokens.

    Attributes:
        limits: The same.
        tokenizer: The model's tokenizer.
        model_name: The checkpoint's name.
        backend_name: What computes: "transformers", "llama_cpp", "vllm", or the name of the class
            of a backend that has no `backend_name`.
        fingerprint: Equal for engines that give equal answers.
        context_window: Most tokens of prompt and completion.
        end_ids: The tokens that end a text.
    """

    supports_explain = True

    def __init__(
        self,
        model: ModelDescription,
        limits: EngineLimits,
        scheduler: Scheduler,
        core: LoopCore,
    ) -> None:
        self.limits = limits
        self.tokenizer: PreTrainedTokenizerBase = model.tokenizer
        self.model_name: str = model.model_name
        self.backend_name: str = getattr(model, "backend_name", type(model).__name__)
        self.fingerprint: str = model.fingerprint
        self.context_window: int = model.context_window
        self.end_ids: frozenset[int] = model.end_ids
        self._grammars = GrammarCompiler(self.tokenizer, model.logits_size, self.end_ids)
        self._validator = RequestValidator(model, limits, self._grammars)
        self._loop = EngineLoop(scheduler, core)
        self._is_warm = False

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
