"""The scheduler of `vllm serve`, on the simulated runner: groups come, run and end as a whole."""

from __future__ import annotations

import random
import time

import pytest
from vllm import SamplingParams
from vllm.v1.engine import EngineCoreRequest, FinishReason

from amulet_integrations.engine.vllm.group_scheduler import AsyncGroupScheduler
from amulet_integrations.engine.vllm.sent_request import as_sent_args
from tests.contract.subjects import BACKENDS, request_of
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_tokenizer

from .simulated_runner import SimulatedVLLM, simulated_config

WEIGHTS = [[-1.0, 2.0], [-0.5, 2.0, -0.5]]
LENGTHS = [1, 2, 5, 33, 64, 65, 150]


@pytest.fixture(scope="module")
def table():
    return BACKENDS["table"]()


class Served:
    """What clients of a server see: tokens and ends by the names of their requests."""

    def __init__(self, seed=0, *, blocks=60, **limits):
        backend = TableBackend(tiny_tokenizer())
        self._ends = sorted(backend.end_ids)
        config = simulated_config(blocks, **limits)
        self.vllm = SimulatedVLLM(config, blocks, backend, seed, AsyncGroupScheduler)
        self.scheduler = self.vllm.scheduler
        self.tokens, self.ends, self.preempted = {}, {}, set()
        self._arrived = 0

    def submit(self, name, request, *, sent=None, plain=False):
        first = request.running_contexts[0]
        params = SamplingParams(temperature=0.0, max_tokens=request.sampling.max_new_tokens)
        if not plain:
            params.extra_args = as_sent_args(request) if sent is None else {"amulet_request": sent}
        params.update_from_generation_config({"eos_token_id": self._ends}, self._ends[0])
        self.tokens[name] = []
        self._arrived += 1
        self.vllm.add_request(
            EngineCoreRequest(
                request_id=name,
                prompt_token_ids=list(first),
                mm_features=None,
                sampling_params=params,
                pooling_params=None,
                arrival_time=float(self._arrived),
                lora_request=None,
                cache_salt=None,
                data_parallel_rank=None,
            )
        )

    def step(self):
        for outputs in self.vllm.get_output().values():
            for output in outputs.outputs:
                assert output.request_id not in self.ends
                self.tokens[output.request_id] += output.new_token_ids
                if output.finish_reason is not None:
                    self.ends[output.request_id] = output.finish_reason
        self.preempted |= {
            request.request_id
            for request in self.scheduler.requests.values()
            if request.num_preemptions
        }
        if self.scheduler._coming:
            time.sleep(0.001)  # as vLLM does where nothing is computed

    def run(self):
        for _ in range(20_000):
            if not self.scheduler.has_requests() and not self.vllm._ahead:
                break
            self.step()
        assert not self.scheduler.requests
        assert not any((self.scheduler._coming, self.scheduler._line, self.scheduler._admitted))
        pool = self.scheduler.kv_cache_manager.block_pool
        assert pool.get_num_free_blocks() == self.scheduler.kv_cache_config.num_blocks - 1


def random_request(chance, number, weights=None):
    weights = weights or chance.choice(WEIGHTS)
    lengths = [chance.choice(LENGTHS) for _ in weights]
    return request_of(lengths, weights, seed=number, max_new_tokens=chance.choice([1, 2, 9, 20]))


@pytest.mark.parametrize("seed", range(6))
def test_groups_and_others_get_their_own_tokens(table, seed):
    chance = random.Random(seed)
    rows = chance.choice([4, 6, 12])
    served = Served(
        seed, blocks=chance.choice([30, 60]), max_rows=rows, max_prefill_tokens=rows + 20
    )
    wanted = {}
    for number in range(24):
        name, plain = f"r{number}", chance.random() < 0.4
        request = random_request(chance, 100 * seed + number, [1.0] if plain else None)
        served.submit(name, request, plain=plain)
        wanted[name] = table.greedy(request)
        for _ in range(chance.choice([0, 0, 1, 5])):
            served.step()
    gone = chance.sample(sorted(wanted.keys() - served.ends.keys()), 3)
    served.vllm.abort_requests(gone)
    served.run()
    for name, tokens in wanted.items():
        if name in gone:
            assert tokens[: len(served.tokens[name])] == served.tokens[name]
        else:
            assert (name, served.tokens[name]) == (name, tokens)
            assert served.ends[name] in {FinishReason.LENGTH, FinishReason.STOP}


def test_lack_of_memory_preempts_others_and_no_group(table):
    served = Served(1, blocks=17, max_rows=8, max_prefill_tokens=24)
    others = {f"p{n}": request_of([60], [1.0], seed=n, max_new_tokens=90) for n in range(4)}
    group = request_of([150, 152], [-1, 2], seed=50, max_new_tokens=6)
    for name, request in others.items():
        served.submit(name, request, plain=True)
    while not served.tokens["p2"]:
        served.step()
    served.submit("group", group)
    served.run()
    assert served.preempted
    assert served.preempted <= others.keys()
    assert served.tokens["group"] == table.greedy(group)
    assert [served.tokens[name] for name in others] == list(map(table.greedy, others.values()))


def test_what_was_preempted_does_not_hold_up_half_a_group(table):
    served = Served(6, blocks=11, max_rows=8)
    long = next(
        it
        for it in (request_of([205], [1.0], seed=n, max_new_tokens=40) for n in range(99))
        if len(table.greedy(it)) == 40
    )
    served.submit("long", long, plain=True)
    while not served.tokens["long"]:
        served.step()
    group = request_of([90, 92], [-1, 2], seed=50, max_new_tokens=6)
    served.submit("group", group)
    served.run()
    assert served.preempted == {"long"}
    assert served.tokens == {"long": table.greedy(long), "group": table.greedy(group)}


def test_a_group_is_not_starved_by_those_who_come_later(table):
    served = Served(2, max_rows=4)
    plain = [request_of([5], [1.0], seed=n, max_new_tokens=10 * (n % 4 + 1)) for n in range(16)]
    for number, request in enumerate(plain[:4]):
        served.submit(f"p{number}", request, plain=True)
    served.step()
    group = request_of([5, 6, 7], [-0.5, 2.0, -0.5], seed=90, max_new_tokens=9)
    served.submit("group", group)
    while served.scheduler._coming:
        served.step()
    for number, request in enumerate(plain[4:], start=4):
        served.submit(f"p{number}", request, plain=True)
    served.run()
    assert served.tokens["group"] == table.greedy(group)
    assert list(served.ends).index("group") <= 4  # four were before it


def test_what_has_no_preferences_is_not_starved_by_groups_that_come_later(table):
    served = Served(5, max_rows=4)
    groups = [request_of([5, 6], [-1, 2], seed=n, max_new_tokens=20) for n in range(10)]
    for number, request in enumerate(groups[:2]):
        served.submit(f"g{number}", request)
    while not served.tokens["g1"]:
        served.step()
    plain = request_of([5], [1.0], seed=91, max_new_tokens=5)
    served.submit("plain", plain, plain=True)
    for number, request in enumerate(groups[2:], start=2):
        served.submit(f"g{number}", request)
    while served.scheduler._coming:
        served.step()
    served.run()
    assert served.tokens["plain"] == table.greedy(plain)
    assert list(served.ends).index("plain") <= 4  # two were before it
    assert [served.tokens[f"g{n}"] for n in range(10)] == list(map(table.greedy, groups))


@pytest.mark.parametrize(
    "sent",
    [
        b"no request",
        b'{"contexts": [[1, 2], [3]]}',
        as_sent_args(request_of([40, 50], [-1, 2], max_new_tokens=300))["amulet_request"],
        as_sent_args(request_of([5] * 9, [-7] + [1] * 8))["amulet_request"],
    ],
    ids=["damaged", "no weights", "too long", "too many contexts"],
)
def test_what_cannot_be_decoded_ends_alone(table, sent):
    served = Served(3, blocks=16, max_rows=8)
    good = request_of([7, 9], [-1, 2], seed=3)
    served.submit("bad", request_of([5], [1.0]), sent=sent)
    served.submit("good", good)
    served.run()
    assert served.ends["bad"] is FinishReason.ERROR
    assert served.tokens == {"bad": [], "good": table.greedy(good)}


def test_a_group_ends_when_its_client_goes_before_it_is_made():
    served = Served(4)
    served.submit("gone", request_of([7, 9], [-1, 2]))
    served.vllm.abort_requests(["gone"])
    served.run()
    assert served.tokens == {"gone": []}
