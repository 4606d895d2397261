"""Generates the answers of a run: many at once by the engine, and beam search one by one."""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.protocol import Engine, IncrementStream
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import GenerationResult
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.data.methods import context_weights
from amulet_integrations.evaluation.data.record_types import Answer, Method, group_by

from .answer_tasks import AnswerTask

IN_FLIGHT = 32
"""The number of requests that run at once. With two contexts each they fill the engine's rows."""


def check_methods(engine: Engine, methods: Iterable[Method]) -> None:
    """Checks that an engine can run the methods.

    Raises:
        EvaluationError: There is a beam search, and the engine has no model in this process.
    """
    beams = [method.name for method in methods if method.kind == "beam_search"]
    if beams and not hasattr(engine, "run_model"):
        raise EvaluationError(
            f"The method {beams[0]!r} needs a model in this process, which a "
            f"{type(engine).__name__} does not have. Leave that method out."
        )


def generate_answers(
    engine: Engine,
    tasks: Sequence[AnswerTask],
    *,
    sampling: SamplingParams,
    seed: int,
) -> Generator[Answer]:
    """Generates answers. Closing the iterator cancels the requests that are still running.

    Args:
        engine: The engine that answers.
        tasks: The answers to generate.
        sampling: How tokens are sampled. Each task has its own seed.
        seed: The seed from which the tasks' seeds are derived.

    Yields:
        Each answer as soon as it is complete, in no particular order. Tasks that are the same
        request, as those of the base context under every preference without sampling, share one.

    Raises:
        AmuletError: A request fails.
    """
    beams = [task for task in tasks if task.method.kind == "beam_search"]
    mixtures = [task for task in tasks if task.method.kind != "beam_search"]
    key = _request_key if sampling.temperature == 0 else id
    waiting = iter(group_by(mixtures, key).values())
    running: dict[Future[list[Answer]], IncrementStream | None] = {}
    with ThreadPoolExecutor(IN_FLIGHT, "amulet-evaluation") as pool:
        try:
            while True:
                for equal in islice(waiting, IN_FLIGHT - len(running)):
                    future, stream = _start(engine, equal, sampling, seed, pool)
                    running[future] = stream
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                # Failed requests come last, so that the answers beside them are not lost.
                for future in sorted(done, key=lambda it: it.exception() is not None):
                    del running[future]
                    yield from future.result()
        finally:
            for stream in running.values():
                if stream is not None:
                    stream.close()
    for task in beams:
        yield _search(engine, task, sampling)


def _start(
    engine: Engine,
    tasks: Sequence[AnswerTask],
    sampling: SamplingParams,
    seed: int,
    pool: ThreadPoolExecutor,
) -> tuple[Future[list[Answer]], IncrementStream | None]:
    """Starts the request of equal tasks. If the engine refuses it, the future has the error."""
    task = tasks[0]
    request = GenerationRequest(
        contexts=task.contexts,
        weights=context_weights(task.method),
        max_kl=task.method.max_kl,
        sampling=sampling.model_copy(update={"seed": task.seed(seed)}),
    )
    started = time.perf_counter()
    try:
        stream = engine.stream(request)
    except AmuletError as error:
        refused: Future[list[Answer]] = Future()
        refused.set_exception(error)
        return refused, None

    def finish() -> list[Answer]:
        result = GenerationResult.fold(stream)
        return [_make_answer(engine, task, result, started) for task in tasks]

    return pool.submit(finish), stream


def _request_key(task: AnswerTask) -> Hashable:
    """Identifies a request. A context of weight 0 makes no difference."""
    weighted = zip(context_weights(task.method), task.contexts, strict=True)
    return task.method.max_kl, *(pair for pair in weighted if pair[0])


def _search(engine: Engine, task: AnswerTask, sampling: SamplingParams) -> Answer:
    # This imports torch, which no other method needs in this module.
    from amulet_integrations.engine.backends.transformers.beam_search import RunsModel, beam_search  # noqa: PLC0415

    assert isinstance(engine, RunsModel)  # noqa: S101 - `check_methods` ensures it
    started = time.perf_counter()
    result = beam_search(
        engine,
        task.contexts[1],
        num_beams=task.method.num_beams,
        max_new_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
    )
    return _make_answer(engine, task, result, started)


def _make_answer(
    engine: Engine, task: AnswerTask, result: GenerationResult, started: float
) -> Answer:
    return Answer(
        **task.key._asdict(),
        question=task.question.text,
        text=result.text,
        token_ids=without_end(engine, result),
        finish_reason=result.finish_reason,
        seconds=round(time.perf_counter() - started, 3),
        bounded_tokens=_bounded_share(result.guidance_fractions),
    )


def _bounded_share(fractions: Sequence[float | None]) -> float | None:
    """Returns the share of tokens at which a bound held guidance back; None without a bound."""
    if not fractions:
        return None
    held_back = sum(fraction is not None and fraction < 1.0 for fraction in fractions)
    return round(held_back / len(fractions), 6)


def without_end(engine: Engine, result: GenerationResult) -> tuple[int, ...]:
    """Returns the tokens without those that end the text: an end token or a stop string."""
    ids = result.token_ids
    ends = getattr(engine, "end_ids", {engine.tokenizer.eos_token_id})
    if ids and ids[-1] in ends:
        return tuple(ids[:-1])

    def has_text(ids: Sequence[int]) -> bool:
        text = str(engine.tokenizer.decode(list(ids), skip_special_tokens=True))
        return text.startswith(result.text)

    while result.finish_reason == "stop" and ids and has_text(ids[:-1]):
        ids = ids[:-1]
    return tuple(ids)
