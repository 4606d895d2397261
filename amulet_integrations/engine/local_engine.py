"""The engine in this process: a transformers model, decoding many requests in lockstep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import fields
from functools import partial
from typing import Any, Literal, Self, TypeVar, cast, overload
from uuid import uuid4

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.engine.backends.transformers.cuda_graphs import (
    CudaGraphRecorder,
    check_one_cuda_device,
)
from amulet_integrations.engine.backends.transformers.fingerprint import model_fingerprint
from amulet_integrations.engine.backends.transformers.loader import (
    check_attention_only,
    context_window,
    load_model,
)
from amulet_integrations.engine.backends.transformers.model_source import EMBEDDED, ModelSource
from amulet_integrations.engine.backends.transformers.row_cache import roomy
from amulet_integrations.engine.backends.transformers.runner import ModelRunner
from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.loop import EngineLoop
from amulet_integrations.engine.outcomes import attempt, cancel_all, raise_first, read_to_end
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import GenerationResult
from amulet_integrations.engine.sampling.scored_mixtures import read_mixtures, read_temperature
from amulet_integrations.engine.sampling.scoring import score_in_steps
from amulet_integrations.engine.sequence import Emit, Sequence
from amulet_integrations.engine.streams import (
    AsyncGenerationStream,
    GenerationStream,
    StreamReader,
)
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import (
    AmuletError,
    ContextLengthError,
    InvalidRequestError,
    UnknownArgumentError,
)

LIMITS = frozenset(field.name for field in fields(EngineLimits))

S = TypeVar("S", bound=StreamReader)
T = TypeVar("T")


class LocalEngine:
    """Decodes requests on this machine. Every method may be called from any thread.

    All torch work is done on one thread of the process (`run_on_worker`). A request that arrives
    while others run joins them at the next step, and changes none of their tokens.

    Args:
        model: A decoder-only model, in eval mode and on its device.
        tokenizer: Its tokenizer.
        model_name: The checkpoint's name; the config's by default.
        fingerprint: Tells engines apart whose answers differ; its own for every engine by default.
        cuda_graphs: Whether decode steps are recorded as CUDA graphs and replayed, on a model that
            is whole on one CUDA device. Each recording takes memory of its own.
        **limits: The fields of `EngineLimits`: max_rows, max_waiting, max_prefill_tokens,
            max_cache_tokens, max_prefix_tokens, prompt_lookup_num_tokens.

    Attributes:
        limits: All of them, with what was left to the engine filled in.
        context_window: Most tokens of prompt and completion; for models with two sets of rotary
            frequencies (longrope), as far as the first set goes.

    Raises:
        UnsupportedModelError: The model keeps a state that contexts of unequal length cannot share.
        InvalidParamsError: A limit is not a whole number above 0.
        InvalidRequestError: `cuda_graphs`, and the model is not whole on one CUDA device.
        UnknownArgumentError: An argument has no meaning here.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model_name: str | None = None,
        fingerprint: str | None = None,
        cuda_graphs: bool = False,
        **limits: int | None,
    ) -> None:
        check_attention_only(model)
        if unknown := limits.keys() - LIMITS:
            raise UnknownArgumentError.for_names("LocalEngine", unknown, LIMITS)
        self.limits = EngineLimits(**limits).for_model(model)  # type: ignore[arg-type]
        self.tokenizer = tokenizer
        self.model_name = model_name or str(model.config.name_or_path)
        self.fingerprint = fingerprint or uuid4().hex
        self.context_window = context_window(model.config)
        self._vocab_size = _rows(model.get_input_embeddings())
        logits = _rows(model.get_output_embeddings() or model.get_input_embeddings())
        self._end_ids = frozenset(id_ for id_ in _end_ids(model, tokenizer) if id_ < logits)
        self._grammars = GrammarCompiler(tokenizer, logits, self._end_ids)
        self._runner = ModelRunner(model)
        if cuda_graphs:
            check_one_cuda_device(model)
            self._runner.record_steps(CudaGraphRecorder(model.device))
        self._loop = EngineLoop(self._runner, self.limits)
        self._model_fingerprint: str | None = None

    @classmethod
    def from_pretrained(cls, model: str = EMBEDDED, **options: Any) -> Self:
        """Loads a checkpoint.

        Args:
            model: Hub id, local folder, or "embedded".
            **options: The other fields of `ModelSource` (dtype, device, device_map, revision,
                local_files_only, trust_remote_code, quantization_config, attn_implementation, …)
                and those of `EngineLimits` (max_rows, max_waiting, …); and `cuda_graphs`.

        Raises:
            ModelNotFoundError: There is no such checkpoint.
            UnsupportedModelError: It is not decoder-only, or needs code of its own.
            MissingDependencyError: It needs a package that is not installed.
            UnknownArgumentError: An argument has no meaning here.
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
        """Loads what a `ModelSource` says; see `from_pretrained`."""
        model, tokenizer = run_on_worker(load_model, source)
        engine = cls(
            model,
            tokenizer,
            model_name=source.model,
            fingerprint=source.key,
            cuda_graphs=cuda_graphs,
            **limits,
        )
        # Here, where people expect to wait, and not within an event loop's first answer.
        engine._grammars.prepare()
        return engine

    def stream(self, request: GenerationRequest) -> GenerationStream:
        """Submits a request, at once, and returns its increments as they come.

        Closing the stream, or dropping it, cancels the request.

        Raises:
            ContextLengthError: A context leaves no room in the context window.
            InvalidRequestError: A token id is not in the vocabulary.
            EngineClosedError: The engine was closed.
            EngineOverloadedError: Too many requests wait already.
            UnsupportedGrammarError: The grammar of an alternative cannot be enforced.
        """
        return GenerationStream(partial(self._begin, request))

    def astream(self, request: GenerationRequest) -> AsyncGenerationStream:
        """`stream` for asyncio. Not a coroutine; to be called while the loop runs."""
        # Reading a grammar takes a while; the event loop must not wait for it.
        slow = isinstance(request, GenerationRequest) and bool(request.alternatives)
        return AsyncGenerationStream(partial(self._begin, request), on_thread=slow)

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
            requests: They are submitted at once; the engine's other requests run beside them.
            return_exceptions: Whether a request that fails leaves its error in its place, as with
                `asyncio.gather`. Otherwise the first error is raised: before anything is computed
                where a request is at fault, else once the others are done.

        Raises:
            AmuletError: As `stream`, and `GenerationError` for what fails on the way.
        """
        streams = self._open_all(GenerationStream, requests, return_exceptions)
        try:
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
        await asyncio.to_thread(self._read_grammars, requests)
        streams = self._open_all(AsyncGenerationStream, requests, return_exceptions)
        try:
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
            InvalidRequestError: No context, an empty one, no completion, unknown token ids, no
                mixture, one that is not a finite weight for each context or that has a bound and
                does not add up to 1, bounds that are negative, not finite, not one for each
                mixture or without mixtures, a reference that is missing, does not fit or has no
                bounds, or a temperature that is not finite and above 0.
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
        for ids in contexts:
            self._check_length(len(ids) + len(completion) - 1)
        for ids in (*contexts, completion):
            self._check_tokens(ids)
        self._check_memory(len(contexts), max(map(len, contexts)) + len(completion))
        steps = score_in_steps(
            self._runner,
            contexts,
            completion,
            scored,
            temperature=temperature,
            max_prefill_tokens=self.limits.max_prefill_tokens or 1,
        )
        pieces: list[Tensor] = []
        while run_on_worker(self._score_on, steps, pieces):
            pass
        return run_on_worker(partial(torch.cat, dim=1), pieces)

    def forget_prefixes(self) -> None:
        """Forgets the keys and values that are kept of ended requests.

        For a model of yours whose weights you change in place: what was read with the former ones
        is of no use. A model that the engine has loaded may hold copies of its weights, which do
        not follow.
        """
        run_on_worker(self._loop.forget_prefixes)

    def run_model(self, function: Callable[[PreTrainedModel], T]) -> T:
        """Runs a function of the model on the worker thread; running requests wait meanwhile.

        Raises:
            EngineClosedError: The engine was closed.
        """

        def run() -> T:
            self._loop.check_open()
            return function(self._runner.model)

        return run_on_worker(run)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        return self._end_ids

    @property
    def model_fingerprint(self) -> str:
        """The same for the same checkpoint, whatever it is called; see `engine.fingerprint`.

        It is computed when it is first asked for, on the worker thread.

        Raises:
            EngineClosedError: The engine was closed before that.
        """
        if self._model_fingerprint is None:
            self._model_fingerprint = self.run_model(model_fingerprint)
        return self._model_fingerprint

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
        return f"{type(self).__name__}({self.model_name!r}, device={str(self._runner.device)!r})"

    def _open_all(
        self, form: type[S], requests: SequenceOf[GenerationRequest], go_on: bool
    ) -> list[S | AmuletError]:
        given: object = requests
        if isinstance(given, GenerationRequest):
            raise InvalidRequestError("generate takes a list of requests; this is one request.")
        streams = [attempt(form, partial(self._prepare, request)) for request in requests]
        if not go_on:
            raise_first(streams)
        opened = [stream for stream in streams if not isinstance(stream, AmuletError)]
        try:
            self._loop.enqueue(stream.sequence for stream in opened if stream.sequence)
        except AmuletError as error:  # for all of them: the line is full, or the engine closed
            if not go_on:
                raise
            return [stream if isinstance(stream, AmuletError) else error for stream in streams]
        return streams

    def _score_on(self, steps: Iterator[Tensor], pieces: list[Tensor]) -> bool:
        """Takes the next step of scoring; returns whether there was one."""
        self._loop.check_open()  # here, where nobody can close it in between
        piece = next(steps, None)
        if piece is not None:
            pieces.append(piece)
        return piece is not None

    def _begin(self, request: GenerationRequest, emit: Emit) -> Sequence:
        sequence = self._prepare(request, emit)
        self._loop.enqueue([sequence])
        return sequence

    def _read_grammars(self, requests: SequenceOf[GenerationRequest]) -> None:
        """Reads grammars ahead, so that preparing the requests takes no time to speak of."""
        for request in requests:
            for alternative in getattr(request, "alternatives", ()):
                attempt(self._grammars.compile, alternative.grammar)

    def _prepare(self, request: GenerationRequest, emit: Emit) -> Sequence:
        given: object = request
        if not isinstance(given, GenerationRequest):
            raise InvalidRequestError(
                f"A {type(given).__name__} is no GenerationRequest. generate takes a list of "
                "requests, stream takes one."
            )
        longest = max(map(len, request.running_contexts))
        self._check_length(longest)
        for ids in request.contexts:
            self._check_tokens(ids)
        sequence = Sequence(
            request,
            emit,
            tokenizer=self.tokenizer,
            device=self._runner.device,
            end_ids=self._end_ids,
            room=self.context_window - longest,
            grammars=self._grammars,
            max_draft=self.limits.prompt_lookup_num_tokens,
        )
        self._check_memory(len(sequence.contexts), sequence.most_tokens)
        return sequence

    def _check_memory(self, contexts: int, tokens: int) -> None:
        needed, limit = contexts * roomy(tokens), self.limits.max_cache_tokens
        if limit is not None and needed > limit:
            raise ContextLengthError(
                f"The request needs key/value memory for {needed} tokens: {contexts} contexts of "
                f"up to {tokens} tokens, with some ahead. The engine has max_cache_tokens={limit}. "
                "Lower max_new_tokens, shorten the prompt, or raise the limit."
            )

    def _check_length(self, tokens: int) -> None:
        if tokens >= self.context_window:
            raise ContextLengthError(
                f"A context of {tokens} tokens leaves no room in the context window of "
                f"{self.context_window} tokens of {self.model_name!r}. Shorten the conversation "
                "or the documents in it."
            )

    def _check_tokens(self, ids: SequenceOf[int]) -> None:
        if max(ids) >= self._vocab_size:
            raise InvalidRequestError(
                f"Token id {max(ids)} is not in the vocabulary of {self._vocab_size} entries of "
                f"{self.model_name!r}. Was the prompt made with another model's tokenizer?"
            )


def _rows(embeddings: Any) -> int:
    return int(cast("Tensor", embeddings.weight).shape[0])


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a text: chat models often have one more than the tokenizer's."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*ids, tokenizer.eos_token_id) if token is not None)
