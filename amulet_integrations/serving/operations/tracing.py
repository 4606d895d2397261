"""OpenTelemetry's span of a request, where the process has OpenTelemetry in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

from amulet_integrations import __version__

from .access_log import POLLED
from .request_record import UNMATCHED, RequestRecord

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_OPERATIONS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
}
_SERVER_ERROR = 500


@contextmanager
def request_span(scope: Scope, record: RequestRecord, model: str) -> Iterator[None]:
    """The server span of a request, from its headers to the end of its answer.

    It continues the caller's trace (`traceparent`) and has the attributes of OpenTelemetry's
    conventions for HTTP and for generative AI, but none with a text, a path or a user. Nothing is
    imported: a process that has configured OpenTelemetry, as `opentelemetry-instrument` does, has
    imported it. Routes that machines ask every few seconds have no span.

    Args:
        scope: ASGI's.
        record: What is known of the request; read when it is over.
        model: The name of the model.
    """
    if "opentelemetry.trace" not in sys.modules or _is_polled(scope):
        yield
        return
    from opentelemetry import propagate, trace  # noqa: PLC0415 - only where it is in use

    tracer = trace.get_tracer("amulet_integrations", __version__)
    parent = propagate.extract(dict(Headers(scope=scope)))
    with tracer.start_as_current_span(
        record.method,
        context=parent,
        kind=trace.SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        finally:
            _describe(span, scope, record, model)


def _is_polled(scope: Scope) -> bool:
    return scope["path"].removeprefix(scope.get("root_path", "")) in POLLED


def _describe(span: Span, scope: Scope, record: RequestRecord, model: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    if record.route != UNMATCHED:
        span.update_name(f"{record.method} {record.route}")
    host, port = scope.get("server") or (None, None)
    operation = _OPERATIONS.get(record.route)
    status = record.status
    failed = record.failure is not None or (status is not None and status >= _SERVER_ERROR)
    attributes: dict[str, Any] = {
        "http.request.method": record.method,
        "http.route": None if record.route == UNMATCHED else record.route,
        "http.response.status_code": status,
        "url.scheme": scope.get("scheme"),
        "server.address": host,
        "server.port": port,
        "error.type": (record.failure or str(status)) if failed else None,
        "amulet.request_id": record.request_id,
    }
    if operation is not None:
        attributes |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "amulet",
            "gen_ai.request.model": model,
            "gen_ai.response.finish_reasons": record.finish_reasons or None,
            "gen_ai.usage.input_tokens": record.prompt_tokens or None,
            "gen_ai.usage.output_tokens": record.completion_tokens or None,
            "amulet.applied_methods": record.applied_methods or None,
        }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if failed:
        span.set_status(StatusCode.ERROR)
