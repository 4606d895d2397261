"""What is known of one HTTP request: for its log line, its span and the counters; never a text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import Scope

REQUEST_ID = "X-Request-Id"
"""The header with a request's id, and of its answer."""

UNMATCHED = "unmatched"
"""The route of requests to paths that there are none of."""

_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "other"


@dataclass
class RequestRecord:
    """One HTTP request, from its first byte to the last one of its answer.

    Attributes:
        request_id: The value of `X-Request-Id`, the client's or one that was made here.
        started: When it came, by `time.perf_counter`.
        route: The template of its path, such as "/v1/profiles/{user_id}".
        method: The HTTP method; "other" for one that no route has.
        status: The answer's status; None as long as there is none.
        code: OpenAI's `code` of the error that it was answered with, if it was one.
        key_id: The id of the key that it came with.
        applied_methods: The decoding method of each answer that was begun.
        finish_reasons: How each answer ended.
        prompt_tokens: Tokens of all prompts.
        completion_tokens: Tokens of all answers that were finished.
        client_gone: Whether the client hung up before the answer was complete.
        failure: The class of an error that nothing expected.
    """

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    route: str = UNMATCHED
    method: str = _OTHER_METHOD
    status: int | None = None
    code: str | None = None
    key_id: str | None = None
    applied_methods: list[str] = field(default_factory=list)
    finish_reasons: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    client_gone: bool = False
    failure: str | None = None

    @property
    def seconds(self) -> float:
        """The time since it came."""
        return time.perf_counter() - self.started

    def read_scope(self, scope: Scope) -> None:
        """Takes the method, and the route once it is known."""
        if scope["method"] in _METHODS:
            self.method = scope["method"]
        self.route = getattr(scope.get("route"), "path", UNMATCHED)


def request_id_of(scope: Scope) -> str:
    """The id that a request came with, if it is a plain one, or a new one."""
    given = Headers(scope=scope).get(REQUEST_ID)
    return given if given is not None and _VALID_ID.fullmatch(given) else uuid4().hex


def path_below_root(scope: Scope) -> str:
    """The path of a request, without the prefix under which the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


_current: ContextVar[RequestRecord | None] = ContextVar("amulet_http_request", default=None)


def current_record() -> RequestRecord | None:
    """The record of the HTTP request that this code works for; None outside of requests."""
    return _current.get()


@contextmanager
def recording(record: RequestRecord) -> Iterator[None]:
    """Makes a record the current one, for this task and the ones that it starts."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def note_error(status: int, code: str | None) -> None:
    """Keeps an error for the current request's log line and counters.

    Args:
        status: Its status, which counts where the answer had none before.
        code: OpenAI's `code` of it.
    """
    if (record := _current.get()) is not None:
        record.code = code
        if record.status is None:
            record.status = status
