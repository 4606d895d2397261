"""What Prometheus reads at /metrics: numbers, without users, keys and texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from amulet_integrations.engine.limits import EngineStats

from .request_record import RequestRecord, current_record

if TYPE_CHECKING:
    from amulet_integrations.engine.result import Usage

FIRST_TOKEN_BUCKETS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Seconds. Small models on a GPU take hundredths of one, a full queue on a CPU takes minutes."""

WHOLE_TIME_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Seconds."""

TOO_MANY = "too_many_connections"
SLOW_REQUEST = "slow_request"
SLOW_READER = "slow_reader"

_REFUSALS = {
    401: "unauthorized",
    403: "forbidden",
    408: SLOW_REQUEST,
    412: "stale_etag",
    413: "body_too_large",
}
_REFUSALS_BY_CODE = {
    429: ("rate_limit_exceeded", "engine_overloaded"),
    503: (
        "model_loading",
        "model_failed",
        "shutting_down",
        "profiles_unavailable",
        "keys_unavailable",
    ),
}


class AnswerCount:
    """Counts one answer of the model; made by `ServerMetrics.answer_started`."""

    def __init__(self, metrics: ServerMetrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._record = current_record()
        self._started = time.perf_counter() if self._record is None else self._record.started
        self._saw_token = False
        self._is_finished = False
        if self._record is not None:
            self._record.applied_methods.append(method)

    def first_token(self) -> None:
        """Notes that the first token is there; later calls do nothing."""
        if not self._saw_token:
            self._saw_token = True
            self._metrics.first_token_seconds.labels(self._method).observe(self._seconds)

    def finished(self, usage: Usage, finish_reason: str | None) -> None:
        """Counts a complete answer.

        Args:
            usage: Its tokens.
            finish_reason: Why it ended, in OpenAI's words.
        """
        self.first_token()
        self._end(finish_reason or "stop")
        self._metrics.answer_seconds.labels(self._method).observe(self._seconds)
        self._metrics.prompt_tokens.inc(usage.prompt_tokens)
        self._metrics.prefix_queries.inc(sum(usage.context_tokens))
        self._metrics.prefix_hits.inc(sum(usage.cached_tokens))
        self._metrics.generation_tokens.inc(usage.completion_tokens)
        if self._record is not None:
            self._record.prompt_tokens += usage.prompt_tokens
            self._record.completion_tokens += usage.completion_tokens

    def broken_off(self, reason: str) -> None:
        """Counts an answer that has not become complete."""
        if not self._is_finished:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self._is_finished = True
        self._metrics.answers.labels(self._method, reason).inc()
        if self._record is not None:
            self._record.finish_reasons.append(reason)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started


class ServerMetrics:
    """The counters of one server. The names are vLLM's, with `amulet_` for `vllm:`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "amulet_http_requests",
            "HTTP requests that were answered.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "amulet_http_requests_in_flight",
            "HTTP requests that are being answered.",
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "amulet_http_request_duration_seconds",
            "From a request's headers to the end of its answer.",
            ("route", "method"),
            buckets=WHOLE_TIME_BUCKETS,
            registry=self._registry,
        )
        self.refusals = Counter(
            "amulet_refusals",
            "Requests that were refused, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self.answers = Counter(
            "amulet_answers",
            "Answers of the model, by the decoding method that was applied and how they ended.",
            ("method", "finish_reason"),
            registry=self._registry,
        )
        self.prompt_tokens = Counter(
            "amulet_prompt_tokens", "Tokens of the prompts.", registry=self._registry
        )
        self.prefix_queries = Counter(
            "amulet_prefix_cache_queries",
            "Tokens of the prompts, of all contexts.",
            registry=self._registry,
        )
        self.prefix_hits = Counter(
            "amulet_prefix_cache_hits",
            "Those of them that had been computed before.",
            registry=self._registry,
        )
        self.generation_tokens = Counter(
            "amulet_generation_tokens", "Tokens of complete answers.", registry=self._registry
        )
        self.first_token_seconds = Histogram(
            "amulet_time_to_first_token_seconds",
            "From a request's headers to the first token of its answer.",
            ("method",),
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "amulet_e2e_request_latency_seconds",
            "From a request's headers to the last token of its answer.",
            ("method",),
            buckets=WHOLE_TIME_BUCKETS,
            registry=self._registry,
        )

    def watch_engine(self, stats: Callable[[], EngineStats | None]) -> None:
        """Reports what an engine does whenever somebody reads the metrics."""
        self._registry.register(_EngineCollector(stats))

    @contextmanager
    def answer_started(self, method: str) -> Iterator[AnswerCount]:
        """Counts an answer of the model: enter it before the first token, leave it after the last.

        One that is left before `finished` counts as "cancelled" or "error". Tokens also reach the
        log line and the span of the HTTP request.

        Args:
            method: The decoding method that was applied (`Personalization.applied_method`).
        """
        answer = AnswerCount(self, method)
        try:
            yield answer
        except (GeneratorExit, asyncio.CancelledError):
            answer.broken_off("cancelled")
            raise
        except BaseException:
            answer.broken_off("error")
            raise
        answer.broken_off("cancelled")

    def count_request(self, record: RequestRecord) -> None:
        """Counts an HTTP request that is over."""
        status = "none" if record.status is None else str(record.status)
        self.requests.labels(record.route, record.method, status).inc()
        self.request_seconds.labels(record.route, record.method).observe(record.seconds)
        if (reason := refusal_reason(record)) is not None:
            self.count_refusal(reason)

    def count_refusal(self, reason: str) -> None:
        """Counts a request that was refused, or a client that was cut off."""
        self.refusals.labels(reason).inc()

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


def refusal_reason(record: RequestRecord) -> str | None:
    """Why a request was refused, as one of a few words; None if it was not."""
    if record.status in _REFUSALS_BY_CODE:
        codes = _REFUSALS_BY_CODE[record.status]
        return record.code if record.code in codes else codes[0]
    return _REFUSALS.get(record.status or 0)


class _EngineCollector(Collector):
    def __init__(self, stats: Callable[[], EngineStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        stats = self._stats()
        if stats is None:
            return
        for state, help_text in (
            ("running", "Requests that are being decoded."),
            ("prefilling", "Requests whose prompts are being computed."),
            ("waiting", "Requests in the engine's queue."),
        ):
            count = getattr(stats, state)
            yield GaugeMetricFamily(f"amulet_num_requests_{state}", help_text, value=count)
