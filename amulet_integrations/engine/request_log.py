"""What the log says of each request: how long it waited and ran, how much, and how it ended.

It holds no text and no user. The logger is this module's; a program that configures no logging sees
nothing of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import (
    AmuletError,
    EngineClosedError,
    EngineOverloadedError,
    IncompleteOutputError,
    RequestCancelledError,
    RequestTimeoutError,
)

from .result import Increment

logger = logging.getLogger(__name__)
# Every error reaches the caller, too, so Python's handler of last resort need not print it.
_silent = logging.NullHandler()
logger.addHandler(_silent)

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class RequestStats:
    """One request that has ended; `amulet_request` of its log record.

    Attributes:
        number: Tells the requests of a process apart.
        outcome: The finish reason, or the name of the error's class.
        prompt_tokens: Tokens of the first context: the conversation itself, without preferences.
        context_tokens: Tokens of each context that was run.
        cached_tokens: How many of those had been computed before.
        completion_tokens: Tokens generated.
        queue_seconds: How long it waited to be admitted.
        first_token_seconds: From submission to the first token; None if there was none.
        total_seconds: From submission to the end.
    """

    number: int
    outcome: str
    prompt_tokens: int
    context_tokens: tuple[int, ...]
    cached_tokens: int
    completion_tokens: int
    queue_seconds: float
    first_token_seconds: float | None
    total_seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """The rate of the tokens after the first; None if there are fewer than two."""
        if self.first_token_seconds is None or self.completion_tokens < 2:  # noqa: PLR2004
            return None
        spent = self.total_seconds - self.first_token_seconds
        return (self.completion_tokens - 1) / spent if spent > 0 else None

    def __str__(self) -> str:
        first, rate = self.first_token_seconds, self.tokens_per_second
        return (
            f"Request {self.number}: {self.outcome} after {self.completion_tokens} tokens; "
            f"a prompt of {self.prompt_tokens}, contexts of "
            f"{'+'.join(map(str, self.context_tokens))}, {self.cached_tokens} of them cached; "
            f"{self.queue_seconds:.3f} s in the queue"
            + (f", first token after {first:.3f} s" if first is not None else "")
            + (f", then {rate:.1f} tokens/s" if rate is not None else "")
        )


class RequestLog:
    """Times one request, and writes what became of it.

    Args:
        prompt_tokens: Tokens of the first context.
        context_tokens: Tokens of each context that is run.
    """

    def __init__(self, prompt_tokens: int, context_tokens: tuple[int, ...]) -> None:
        self._prompt_tokens = prompt_tokens
        self._context_tokens = context_tokens
        self._completion_tokens = 0
        self._submitted = time.monotonic()
        self._admitted: float | None = None
        self._first_token: float | None = None

    @cached_property
    def number(self) -> int:
        """Tells the requests of a process apart; requests that are only validated have none."""
        return next(_numbers)

    def admit(self) -> None:
        """The request leaves the queue."""
        self._admitted = time.monotonic()
        _log(
            logging.DEBUG,
            "Request %d begins after %.3f s in the queue",
            self.number,
            self._admitted - self._submitted,
        )

    def record(self, item: Increment | AmuletError, cached_tokens: int = 0) -> None:
        """The request emits an increment, or the error that ends it.

        Args:
            item: What it emits.
            cached_tokens: How many tokens of its contexts had been computed before.
        """
        if isinstance(item, AmuletError):
            self._write(_level(item), _name(item), cached_tokens)
            return
        self._completion_tokens += len(item.token_ids)
        if self._first_token is None:
            self._first_token = time.monotonic()
        if item.finish_reason is not None:
            self._write(logging.INFO, item.finish_reason, cached_tokens)

    def _write(self, level: int, outcome: str, cached_tokens: int) -> None:
        if not logger.isEnabledFor(level):
            return
        now = time.monotonic()
        first = self._first_token
        stats = RequestStats(
            number=self.number,
            outcome=outcome,
            prompt_tokens=self._prompt_tokens,
            context_tokens=self._context_tokens,
            cached_tokens=cached_tokens,
            completion_tokens=self._completion_tokens,
            queue_seconds=(self._admitted or now) - self._submitted,
            first_token_seconds=None if first is None else first - self._submitted,
            total_seconds=now - self._submitted,
        )
        _log(level, "%s", stats, extra={"amulet_request": stats})


@contextmanager
def log_refusals() -> Iterator[None]:
    """Writes which errors are raised inside; their messages may quote schemas, so not those."""
    try:
        yield
    except AmuletError as error:
        level = logging.WARNING if isinstance(error, EngineOverloadedError) else logging.INFO
        _log(level, "A request was refused: %s", _name(error))
        raise


def _log(level: int, message: str, *values: object, extra: dict[str, object] | None = None) -> None:
    """Writes a line; a handler or filter that fails is reported on stderr, and fails no request."""
    try:
        logger.log(level, message, *values, extra=extra)
    except Exception:  # noqa: BLE001 - the engine goes on, whatever a program's handlers do
        record = logger.makeRecord(logger.name, level, __file__, 0, message, values, None)
        _silent.handleError(record)


def _level(error: AmuletError) -> int:
    """How much an error matters to who runs the engine."""
    if isinstance(error, RequestCancelledError | EngineClosedError):
        return logging.INFO
    if isinstance(error, RequestTimeoutError | IncompleteOutputError):
        return logging.WARNING
    return logging.ERROR


def _name(error: AmuletError) -> str:
    """The class of an error, and that of its cause; messages may hold texts."""
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ is not None else ""
    return type(error).__name__ + cause
