"""What the log says of requests, against what their results say; and what it must not say."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import pytest

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import AmuletError, GenerationError
from amulet_integrations.langchain import ChatAmulet
from tests.support.stepped import SteppedEngine
from tests.support.tiny import CONTEXT_WINDOW, tiny_engine, tiny_model, tiny_tokenizer

PACKAGE = "amulet_integrations"
REQUESTS = f"{PACKAGE}.engine.request_log"


def request(contexts=((5, 6, 7), (8, 9)), tokens=6, **changes):
    sampling = SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens)
    weights = [-1.0, 2.0][-len(contexts) :] if len(contexts) > 1 else [1.0]
    return GenerationRequest(contexts=contexts, weights=weights, sampling=sampling, **changes)


def ends(caplog):
    """The records of requests that have ended."""
    return [record for record in caplog.records if hasattr(record, "amulet_request")]


@pytest.fixture
def slow():
    engine = SteppedEngine()
    with engine.engine:
        yield engine


def test_a_request_is_logged_with_what_its_result_says(caplog):
    caplog.set_level(logging.INFO, PACKAGE)
    prompt = list(range(5, 45))
    with tiny_engine() as engine:
        results = [engine.generate([request((prompt, [*prompt, 9]))])[0] for _ in range(2)]
        began = time.monotonic()
        engine.generate([request(tokens=40)])
        spent = time.monotonic() - began
    *records, last = ends(caplog)
    assert [record.levelname for record in records] == ["INFO", "INFO"]
    assert {record.name for record in caplog.records} == {REQUESTS}
    for record, result in zip(records, results, strict=True):
        stats, usage = record.amulet_request, result.usage
        assert stats.outcome == result.finish_reason == "length"
        assert stats.prompt_tokens == usage.prompt_tokens == 40
        assert stats.context_tokens == usage.context_tokens == (40, 41)
        assert stats.completion_tokens == usage.completion_tokens == 6
        assert stats.cached_tokens == sum(usage.cached_tokens)
        assert 0 <= stats.queue_seconds <= stats.first_token_seconds <= stats.total_seconds
        assert f"Request {stats.number}: length after 6 tokens" in record.getMessage()
    assert records[1].amulet_request.cached_tokens > 0
    stats = last.amulet_request
    assert stats.total_seconds <= spent
    decoding = stats.total_seconds - stats.first_token_seconds
    assert stats.tokens_per_second == pytest.approx(39 / decoding)
    assert stats.number > records[1].amulet_request.number > records[0].amulet_request.number


def test_the_time_in_the_queue_is_that_before_others_make_room(caplog, slow):
    caplog.set_level(logging.DEBUG, REQUESTS)
    slow.pause = 0.01
    slow.engine.generate([request([[5]], tokens=8), request([[6]], tokens=2)])
    first, second = (record.amulet_request for record in ends(caplog))
    assert first.queue_seconds < second.queue_seconds
    assert second.queue_seconds > 7 * slow.pause  # the first one's eight passes
    begun = [r.getMessage() for r in caplog.records if r.levelname == "DEBUG"]
    assert [text.split(" after ")[0] for text in begun] == [
        f"Request {first.number} begins",
        f"Request {second.number} begins",
    ]


def fail(slow):
    slow.error = RuntimeError("Bob's secret")
    slow.engine.generate([request([[5]])])


def cancel(slow):
    slow.pause = 0.01
    stream = slow.engine.stream(request([[5]], tokens=400))
    next(stream)
    stream.close()
    while slow.engine.stats.running:
        time.sleep(0.005)


def overrun(slow):
    slow.pause = 0.02
    slow.engine.generate([request([[5]], tokens=400, timeout=0.1)])


def close(slow):
    slow.pause = 0.01
    stream = slow.engine.stream(request([[5]], tokens=400))
    next(stream)
    slow.engine.close()


FAILURES = {
    "a model that fails": (fail, "ERROR", "GenerationError (RuntimeError)"),
    "a reader that goes away": (cancel, "INFO", "RequestCancelledError"),
    "a deadline": (overrun, "WARNING", "RequestTimeoutError"),
    "an engine that is closed": (close, "INFO", "EngineClosedError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_request_that_ends_early_is_logged_with_its_error_and_no_text(caplog, slow, name):
    way, level, outcome = FAILURES[name]
    caplog.set_level(logging.INFO, PACKAGE)
    with suppress(GenerationError):
        way(slow)
    (record,) = ends(caplog)
    assert (record.levelname, record.amulet_request.outcome) == (level, outcome)
    assert "secret" not in caplog.text


def test_what_is_refused_is_logged_by_the_name_of_its_error(caplog, slow):
    caplog.set_level(logging.INFO, PACKAGE)
    engine = slow.engine
    full = LocalEngine(tiny_model(), tiny_tokenizer(), max_rows=1, max_waiting=1)
    for asked, refused in (
        (engine, request([[5] * CONTEXT_WINDOW])),
        (engine, request([[10**6]])),
        (full, [request([[5]]) for _ in range(4)]),
    ):
        with pytest.raises(AmuletError):
            asked.generate(refused if isinstance(refused, list) else [refused])
    full.close()
    with pytest.raises(AmuletError):
        full.generate([request([[5]])])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "A request was refused: ContextLengthError"),
        ("INFO", "A request was refused: InvalidRequestError"),
        ("WARNING", "A request was refused: EngineOverloadedError"),
        ("INFO", "A request was refused: EngineClosedError"),
    ]


def test_no_text_and_no_user_is_in_any_record(caplog):
    caplog.set_level(logging.DEBUG)
    secrets = ("zanzibar", "quokka", "ann-4711", "marmalade")
    profile = PreferenceProfile(user_id=secrets[2], preferences=[f"Speak of {secrets[1]}."])
    with tiny_engine() as engine:
        llm = ChatAmulet(engine=engine, profiles=InMemoryProfileStore([profile]), max_tokens=8)
        schema = {"title": secrets[3], "type": "object", "properties": {secrets[3]: {}}}
        asked = {"user_id": secrets[2], "stop": [secrets[0]]}
        llm.invoke(f"Where is {secrets[0]}?", **asked)
        llm.validate(f"Where is {secrets[0]}?", **asked)
        for refused in (f"{secrets[0]} " * CONTEXT_WINDOW, f"{secrets[0]}?"):
            with pytest.raises(AmuletError):
                llm.bind(response_format=schema, max_tokens=2).invoke(refused, **asked)
    assert len(ends(caplog)) == 1
    for record in caplog.records:
        whole = f"{record.getMessage()} {vars(record)}"
        assert not [secret for secret in secrets if secret in whole]


def test_nothing_is_written_where_it_is_not_asked_for(caplog, capsys, slow, monkeypatch):
    caplog.set_level(logging.WARNING, PACKAGE)
    slow.engine.generate([request([[5]])])
    assert not caplog.records
    # In a program without handlers Python itself prints warnings and errors, unless told otherwise.
    monkeypatch.setattr(logging.getLogger(REQUESTS), "propagate", False)
    with pytest.raises(GenerationError):
        fail(slow)
    assert not capsys.readouterr().err


def test_loading_is_logged(caplog, tmp_path):
    caplog.set_level(logging.INFO, PACKAGE)
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    LocalEngine.from_pretrained(str(tmp_path)).close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Loaded {tmp_path} in ")


class FailingHandler(logging.Handler):
    def emit(self, record):
        raise RuntimeError("The disk of the log is full.")


class FailingFilter(logging.Filter):
    def filter(self, record):
        raise RuntimeError("The filter is broken.")


@pytest.mark.parametrize("listener", [FailingHandler(), FailingFilter()])
def test_a_log_handler_that_fails_fails_no_request(listener, caplog, capsys):
    caplog.set_level(logging.DEBUG, PACKAGE)
    logger = logging.getLogger(REQUESTS)
    add, remove = (
        (logger.addHandler, logger.removeHandler)
        if isinstance(listener, logging.Handler)
        else (logger.addFilter, logger.removeFilter)
    )
    with tiny_engine() as engine:
        expected = engine.generate([request()])[0]
        add(listener)
        try:
            assert engine.generate([request()])[0].token_ids == expected.token_ids
            with pytest.raises(AmuletError, match="99999999"):
                engine.generate([request(contexts=((99999999,),))])
        finally:
            remove(listener)
        assert engine.generate([request()])[0].token_ids == expected.token_ids
    assert "RuntimeError: The " in capsys.readouterr().err
