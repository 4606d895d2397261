"""Answers cases: many at once through the engine, and beam search one at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from itertools import islice

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.protocol import Engine, IncrementStream
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import GenerationResult
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.runs.cases import Case
from amulet_integrations.evaluation.runs.methods import context_weights
from amulet_integrations.evaluation.runs.records import Answer, Method

IN_FLIGHT = 32
"""Requests that the engine is given at once: with two contexts each, as many rows as it runs."""


def check_methods(engine: Engine, methods: Iterable[Method]) -> None:
    """Refuses beam search on an engine that cannot do it.

    Raises:
        EvaluationError: The engine has no model in this process.
    """
    beams = [method.name for method in methods if method.kind == "beam_search"]
    if beams and not hasattr(engine, "run_model"):
        raise EvaluationError(
            f"The method {beams[0]!r} needs a model in this process, which a "
            f"{type(engine).__name__} does not have. Leave that method out."
        )


def run_cases(
    engine: Engine,
    cases: Sequence[Case],
    *,
    sampling: SamplingParams,
    seed: int,
) -> Generator[Answer]:
    """Answers cases; closing the iterator cancels what still runs.

    Args:
        engine: What answers.
        cases: What is to be answered.
        sampling: How tokens are picked; each case gets a seed of its own.
        seed: What those seeds are made of.

    Yields:
        Each answer once it is whole, in no particular order. What is the same request, as the base
        context without sampling is under every preference, is asked once.

    Raises:
        AmuletError: A case cannot be answered.
    """
    beams = [case for case in cases if case.method.kind == "beam_search"]
    mixtures = [case for case in cases if case.method.kind != "beam_search"]
    alike = _alike(mixtures) if sampling.temperature == 0 else [[it] for it in mixtures]
    yield from _run_mixtures(engine, alike, sampling, seed)
    for case in beams:
        yield _search(engine, case, sampling)


def request_of(case: Case, sampling: SamplingParams, seed: int) -> GenerationRequest:
    """What the engine is asked for; beam search asks it for nothing."""
    return GenerationRequest(
        contexts=case.contexts,
        weights=context_weights(case.method),
        max_kl=case.method.max_kl,
        sampling=sampling.model_copy(update={"seed": case.seed(seed)}),
    )


def _run_mixtures(
    engine: Engine, alike: Iterable[Sequence[Case]], sampling: SamplingParams, seed: int
) -> Generator[Answer]:
    waiting = iter(alike)
    running: dict[Future[list[Answer]], IncrementStream | None] = {}
    with ThreadPoolExecutor(IN_FLIGHT, "amulet-evaluation") as pool:
        try:
            while True:
                for cases in islice(waiting, IN_FLIGHT - len(running)):
                    future, stream = _start(
                        engine, cases, request_of(cases[0], sampling, seed), pool
                    )
                    running[future] = stream
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                # What failed comes last: its neighbours are whole, and not to be lost.
                for future in sorted(done, key=lambda it: it.exception() is not None):
                    del running[future]
                    yield from future.result()
        finally:
            for stream in running.values():
                if stream is not None:
                    stream.close()


def _start(
    engine: Engine, cases: Sequence[Case], request: GenerationRequest, pool: Executor
) -> tuple[Future[list[Answer]], IncrementStream | None]:
    """What becomes of a request, also where the engine does not take it."""
    started = time.perf_counter()
    try:
        stream = engine.stream(request)
    except AmuletError as error:
        refused: Future[list[Answer]] = Future()
        refused.set_exception(error)
        return refused, None
    return pool.submit(_follow, engine, cases, stream, started), stream


def _alike(cases: Iterable[Case]) -> Iterable[list[Case]]:
    """Puts together the cases that the model cannot tell apart."""
    found: dict[Hashable, list[Case]] = {}
    for case in cases:
        weighed = zip(context_weights(case.method), case.contexts, strict=True)
        read = [pair for pair in weighed if pair[0]]
        found.setdefault((case.method.max_kl, *read), []).append(case)
    return found.values()


def _follow(
    engine: Engine, cases: Sequence[Case], stream: IncrementStream, started: float
) -> list[Answer]:
    result = GenerationResult.fold(stream)
    return [_answer(engine, case, result, started) for case in cases]


def _search(engine: Engine, case: Case, sampling: SamplingParams) -> Answer:
    # Brings torch, which the other methods leave to the engine.
    from amulet_integrations.engine.backends.transformers.beam_search import RunsModel, beam_search  # noqa: PLC0415

    assert isinstance(engine, RunsModel)  # noqa: S101 - `check_methods` saw to it
    started = time.perf_counter()
    result = beam_search(
        engine,
        case.contexts[1],
        num_beams=case.method.num_beams,
        max_new_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
    )
    return _answer(engine, case, result, started)


def _answer(engine: Engine, case: Case, result: GenerationResult, started: float) -> Answer:
    return Answer(
        data_set=case.question.data_set,
        index=case.question.index,
        question=case.question.text,
        preference=case.preference.name,
        method=case.method.name,
        text=result.text,
        token_ids=_without_end(engine, result),
        finish_reason=result.finish_reason,
        seconds=round(time.perf_counter() - started, 3),
        bounded_tokens=_bounded(result.guidance_fractions),
    )


def _bounded(fractions: Sequence[float | None]) -> float | None:
    """The share of tokens at which a bound held guidance back; None where there was no bound."""
    if not fractions:
        return None
    held = sum(fraction is not None and fraction < 1.0 for fraction in fractions)
    return round(held / len(fractions), 6)


def _without_end(engine: Engine, result: GenerationResult) -> tuple[int, ...]:
    """The tokens without those that end the text: the end-of-text token, or a stop string's."""
    ids = result.token_ids
    ends = getattr(engine, "end_ids", {engine.tokenizer.eos_token_id})
    if ids and ids[-1] in ends:
        return tuple(ids[:-1])
    while result.finish_reason == "stop" and ids and _says(engine, ids[:-1], result.text):
        ids = ids[:-1]
    return tuple(ids)


def _says(engine: Engine, ids: Sequence[int], text: str) -> bool:
    said = str(engine.tokenizer.decode(list(ids), skip_special_tokens=True))
    return said.startswith(text)
