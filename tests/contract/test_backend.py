"""What `LocalEngine` promises on every backend, checked against a slow loop over its logits."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import takewhile

import pytest
import torch
from torch import Tensor

from amulet_integrations import SamplingParams
from amulet_integrations.engine import (
    Backend,
    GenerationRequest,
    LocalEngine,
    run_on_worker,
)
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.errors import (
    EngineClosedError,
    GenerationError,
    InvalidRequestError,
    UnsupportedModelError,
)
from tests.contract.subjects import (
    BACKENDS,
    BAD,
    BackendSubject,
    Subject,
    request_of,
    requests,
    require,
    tokens,
)
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module", params=BACKENDS)
def subject(request) -> BackendSubject:
    require(request.param)
    return BACKENDS[request.param]()


def in_batches(counted: list[int], function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def counting(cache, inputs, logits_to_keep=1):
        counted.append(len(inputs))
        return function(cache, inputs, logits_to_keep)

    return counting


def test_it_is_a_backend(subject):
    assert isinstance(subject.make(False), Backend)


class RandomRows:
    """Calls the cache's methods in random order and knows which tokens each row must hold."""

    def __init__(self, subject: Subject, seed: int, tolerance: float = 1e-3) -> None:
        self.subject = subject
        self.tolerance = {"atol": tolerance, "rtol": tolerance}
        self.random = random.Random(seed)
        self.backend = subject.make(False)
        self.cache = self.backend.new_cache(64, 4096)
        self.expected: list[list[int]] = []
        self.saved = []

    def append(self):
        count = self.random.randint(1, len(self.expected))
        rows = sorted(self.random.sample(range(len(self.expected)), count))
        lengths = [self.random.randint(1, 9) for _ in rows]
        inputs = [
            RowInput(row, [self.random.randrange(4, 500) for _ in range(length)])
            for row, length in zip(rows, lengths, strict=True)
        ]
        logits = self.backend.forward(self.cache, inputs, 3)
        for (row, ids), of_row in zip(inputs, logits, strict=True):
            self.expected[row] += ids
            for back in range(min(3, len(ids))):
                held = self.expected[row][: len(self.expected[row]) - back]
                right = self.subject.logits_after(held)
                torch.testing.assert_close(of_row[-1 - back], right, **self.tolerance)

    def add(self):
        self.cache.add(2)
        self.expected += [[], []]

    def keep(self):
        count = max(2, len(self.expected) - 2)
        rows = sorted(self.random.sample(range(len(self.expected)), count))
        self.cache.keep(rows)
        self.expected = [self.expected[row] for row in rows]

    def copy(self):
        source, target = self.random.sample(range(len(self.expected)), 2)
        length = self.random.randint(0, len(self.expected[source]))
        self.cache.copy(source, target, length)
        self.expected[target] = self.expected[source][:length]

    def merge(self):
        source, target = self.random.sample(range(len(self.expected)), 2)
        pairs = zip(self.expected[source], self.expected[target], strict=False)
        if shared := sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)):
            self.cache.merge(source, target, shared)

    def truncate(self):
        row = self.random.randrange(len(self.expected))
        length = self.random.randint(0, len(self.expected[row]))
        self.cache.truncate(row, length)
        del self.expected[row][length:]

    def save(self):
        row = self.random.randrange(len(self.expected))
        if ids := self.expected[row]:
            self.saved.append((self.cache.save(row, len(ids)), list(ids)))

    def load(self):
        if self.saved:
            prefix, ids = self.saved.pop(self.random.randrange(len(self.saved)))
            self.cache.add(1)
            self.expected.append(ids[: self.random.randint(1, len(ids))])
            self.cache.load(len(self.expected) - 1, prefix, len(self.expected[-1]))
            self.backend.free_prefix(prefix)


@pytest.mark.parametrize("seed", range(3))
def test_rows_hold_what_was_appended_copied_cut_and_loaded(subject, seed):
    rows = RandomRows(subject, seed)
    others = [rows.add, rows.keep, rows.copy, rows.truncate, rows.save, rows.load, rows.merge]
    with torch.inference_mode():
        rows.add()
        for _ in range(20):
            rows.random.choice(others)()
            rows.append()
            assert list(rows.cache.lengths) == [len(ids) for ids in rows.expected]
    rows.cache.close()


def test_company_chunks_and_prefixes_move_logits_within_the_tolerance(subject):
    backend, ids = subject.make(False), tokens(1, 90)
    cache = backend.new_cache(8, 1024)
    seen = []
    with torch.inference_mode():
        for size, company in ((90, 0), (90, 4), (7, 0), (32, 2)):
            cache.add(1 + company)
            others = [RowInput(1 + row, tokens(row, 50)) for row in range(company)]
            for start in range(0, len(ids), size):
                inputs = [RowInput(0, ids[start : start + size]), *(others if not start else ())]
                logits = backend.forward(cache, inputs)
            seen.append(logits[0, -1].clone())
            cache.keep([])
        cache.add(2)
        backend.forward(cache, [RowInput(0, [*ids[:40], 8, 9])])
        cache.copy(0, 1, 40)
        seen.append(backend.forward(cache, [RowInput(0, [7]), RowInput(1, ids[40:])])[1, -1])
    cache.close()
    for logits in seen[1:]:
        assert (logits - seen[0]).abs().max() <= backend.logits_tolerance


@pytest.mark.parametrize("max_prefix_tokens", [0, 1000])
def test_a_kept_prefix_changes_no_token(subject, max_prefix_tokens):
    shared = tokens(1, 40)
    request = GenerationRequest(
        contexts=[shared, [*shared, *tokens(2, 20)]],
        weights=[-1.0, 2.0],
        sampling=SamplingParams(max_new_tokens=6),
    )
    expected = subject.greedy(request)
    with subject.engine(max_prefix_tokens=max_prefix_tokens) as engine:
        first, second = (engine.generate([request])[0] for _ in range(2))
        assert first.token_ids == second.token_ids == expected
        if max_prefix_tokens:
            assert first.usage.cached_tokens == (0, 40)  # from the request's own other context
            assert second.usage.cached_tokens == (39, 59)
        else:
            assert second.usage.cached_tokens == first.usage.cached_tokens


def salted(*salts: str | None) -> list[GenerationRequest]:
    """Requests that differ in nothing but their salt; their two contexts begin alike."""
    shared = tokens(1, 40)
    return [
        GenerationRequest(
            contexts=[shared, [*shared, *tokens(2, 20)]],
            weights=[-1.0, 2.0],
            sampling=SamplingParams(max_new_tokens=6),
            cache_salt=salt,
        )
        for salt in salts
    ]


def test_a_kept_prefix_serves_requests_of_its_own_salt_only(subject):
    with subject.engine(max_prefix_tokens=1000) as engine:
        for salt in (None, "ann", "bob"):
            first, second = (engine.generate(salted(salt))[0] for _ in range(2))
            assert first.token_ids == second.token_ids == subject.greedy(*salted(None))
            assert first.usage.cached_tokens == (0, 40)  # from the request's own other context
            assert second.usage.cached_tokens == (39, 59)


@pytest.mark.parametrize(
    ("salts", "cached", "first_pass"),
    [
        (("ann", "ann"), [(0, 40), (39, 59)], 1),  # who may share waits for what is on its way
        (("ann", "bob"), [(0, 40), (0, 40)], 2),
        (("ann", None), [(0, 40), (0, 40)], 2),
    ],
)
def test_no_request_waits_for_a_prompt_of_another_salt(
    subject, monkeypatch, salts, cached, first_pass
):
    backend, rows = subject.make(False), []
    monkeypatch.setattr(backend, "forward", in_batches(rows, backend.forward))
    with LocalEngine(backend, max_prefix_tokens=1000, max_prefill_tokens=200) as engine:
        results = engine.generate(salted(*salts))
    assert [result.usage.cached_tokens for result in results] == cached
    assert {tuple(result.token_ids) for result in results} == {tuple(subject.greedy(*salted(None)))}
    assert rows[0] == first_pass


def test_every_saved_prefix_is_freed(subject, monkeypatch):
    backend = subject.make(False)
    kind, saved, freed = type(backend.new_cache(1, 64)), [], []
    save = kind.save
    monkeypatch.setattr(kind, "save", lambda *args: saved.append(prefix := save(*args)) or prefix)
    monkeypatch.setattr(backend, "free_prefix", freed.append)
    with LocalEngine(backend, max_prefix_tokens=60) as engine:
        for seed in range(4):
            engine.generate([request_of([25], [1.0], seed=seed)])
        run_on_worker(int)  # the step that ends the last request
        assert len(saved) == 4
        assert 0 < len(freed) < 4
        engine.forget_prefixes()
        assert engine.stats.prefix_tokens == 0
    assert [id(prefix) for prefix in freed] == [id(prefix) for prefix in saved]


@pytest.mark.parametrize("drafts", [0, 10])
def test_drafts_save_passes_and_change_no_logits(subject, drafts):
    text = tokens(3, 30)
    prompt, answer = [*text, *text[:4]], text[4:28]
    coming, seen, passes = iter(answer), [], []

    def copies_the_prompt(log_probs: Tensor) -> Tensor:
        seen.append(log_probs.clone())
        return log_probs[0].index_fill(0, torch.tensor([next(coming)]), 100.0)

    request = GenerationRequest(
        contexts=[prompt],
        policy=copies_the_prompt,
        sampling=SamplingParams(max_new_tokens=len(answer)),
    )
    backend = subject.make(False)
    backend.decode = in_batches(passes, backend.decode)
    with LocalEngine(backend, prompt_lookup_num_tokens=drafts) as engine:
        assert engine.generate([request])[0].token_ids == answer
    assert len(passes) < 10 if drafts else len(passes) == len(answer) - 1
    for position, log_probs in enumerate(seen):
        right = subject.log_probs([prompt], [1.0], answer[:position]).float()
        torch.testing.assert_close(log_probs[0], right, atol=1e-3, rtol=1e-3)


def test_wrong_drafts_are_taken_back(subject):
    repeated = [*tokens(3, 8)] * 3  # every trigram has a draft, and the model does not copy it
    request = GenerationRequest(
        contexts=[repeated], sampling=SamplingParams(max_new_tokens=20, temperature=0.0)
    )
    with subject.engine(prompt_lookup_num_tokens=10) as engine:
        assert engine.generate([request])[0].token_ids == subject.greedy(request)


def test_the_failure_of_one_request_is_its_own(subject):
    good = requests()
    bad = GenerationRequest(contexts=[[5, 6], [8, BAD, 7]], weights=[-1.0, 2.0])
    with subject.engine(failing=True) as engine:
        outcomes = engine.generate([good[0], bad, *good[1:]], return_exceptions=True)
        assert isinstance(outcomes[1], GenerationError)
        assert f"no logits after token {BAD}" in str(outcomes[1])
        del outcomes[1]
        assert [outcome.token_ids for outcome in outcomes] == list(map(subject.greedy, good))


def test_running_out_of_memory_costs_the_newest_request_at_most(subject):
    backend = subject.make(False)
    decode, failures = backend.decode, [2]

    def short_of_memory(cache, inputs, logits_to_keep):
        if len(inputs) == 6 and failures[0]:
            failures[0] -= 1
            raise MemoryError
        return decode(cache, inputs, logits_to_keep)

    backend.decode = short_of_memory
    with LocalEngine(backend, max_prefix_tokens=0) as engine:
        outcomes = engine.generate(requests(), return_exceptions=True)
    expected = list(map(subject.greedy, requests()))
    assert [outcome.token_ids for outcome in outcomes[:2]] == expected[:2]
    assert isinstance(outcomes[2], GenerationError)


def test_closing_ends_everything_and_releases_the_backend(subject, monkeypatch):
    backend, released = subject.make(False), []
    monkeypatch.setattr(backend, "release", lambda: released.append(True))
    engine = LocalEngine(backend, max_rows=1)
    streams = [engine.stream(request_of([5], [1.0], max_new_tokens=600)) for _ in range(2)]
    next(streams[0])
    engine.close()
    engine.close()
    for stream in streams:
        with pytest.raises(EngineClosedError):
            list(stream)
    for call in (
        lambda: engine.generate([request_of([5], [1.0])]),
        lambda: engine.score([[5]], [6]),
        lambda: engine.model_fingerprint,
    ):
        with pytest.raises(EngineClosedError):
            call()
    assert released == [True]


def test_a_backend_brings_its_own_tokenizer_and_name():
    backend = TableBackend(tiny_tokenizer())
    with pytest.raises(InvalidRequestError, match="own tokenizer"):
        LocalEngine(backend, tiny_tokenizer())
    with pytest.raises(InvalidRequestError, match="needs the model's tokenizer"):
        LocalEngine(tiny_model())
    with LocalEngine(backend) as engine:
        assert (engine.model_name, engine.fingerprint) == ("table", "table")
        assert engine.model_fingerprint == "table"
        with pytest.raises(UnsupportedModelError, match="no transformers model"):
            engine.run_model(type)
