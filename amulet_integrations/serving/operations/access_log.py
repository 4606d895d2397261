"""One line of JSON for each request and each event, without texts and without users."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from .request_record import RequestRecord, current_record

logger = logging.getLogger(__name__)

POLLED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that machines ask every few seconds; their lines are of the level DEBUG."""

_FIELDS = "amulet_fields"


def log_request(record: RequestRecord) -> None:
    """Logs a request that is over."""
    level = logging.DEBUG if record.route in POLLED else logging.INFO
    optional = {
        "key": record.key_id,
        "code": record.code,
        "applied_methods": record.applied_methods,
        "finish_reasons": record.finish_reasons,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "client_gone": record.client_gone,
        "failure": record.failure,
    }
    fields = {
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "ms": round(1000 * record.seconds, 1),
        **{name: value for name, value in optional.items() if value},
    }
    logger.log(level, "request", extra={_FIELDS: fields})


def log_failure(error: Exception) -> None:
    """Logs an error that nothing expected: where it happened, not its message, which may quote.

    The line and the span of the current request name its class, too.
    """
    if (record := current_record()) is not None:
        record.failure = type(error).__name__
    fields = {"failure": type(error).__name__, "frames": frames_of(error.__traceback__)}
    logger.error("A request failed unexpectedly.", extra={_FIELDS: fields})


def frames_of(trace: TracebackType | None) -> list[str]:
    """The places of a traceback, the innermost last, without the lines of code."""
    frames = traceback.extract_tb(trace)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


class JSONFormatter(logging.Formatter):
    """Writes a log record as one line of JSON.

    Of exceptions it writes the class and the places, because their messages may quote what users
    have written.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := current_record()) is not None:
            line["request_id"] = request.request_id
        line |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            line["message"] = line["message"].partition("\n")[0]  # asyncio adds the error's text
            line["failure"] = record.exc_info[0].__name__
            line["frames"] = frames_of(record.exc_info[2])
        return json.dumps(line, default=repr)


def log_config() -> dict[str, Any]:
    """The argument of `logging.config.dictConfig` for a server: JSON lines on stderr."""
    quiet = {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "amulet_integrations": {**quiet, "level": "INFO"},
            # One line a request is enough, and it is this server's.
            "amulet_integrations.engine.request_log": quiet,
            "uvicorn": quiet,
        },
    }
