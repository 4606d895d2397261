"""Two replicas behind one port: users, profiles, ends of processes, full replicas, and logs."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import openai
import pytest

from tests.ray.served_cluster import Cluster

USERS = [f"user-of-tests-{number}" for number in range(6)]
LONG = "The sea is blue. You are a helpful assistant. " * 12
SECRET = "zanzibar heliotrope"


def turn(cluster: Cluster, user: str, *said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {
        "model": str(cluster.model),
        "messages": [
            {"role": roles[number % 2], "content": text} for number, text in enumerate(said)
        ],
        "user": user,
        "max_tokens": 8,
    }


def test_users_meet_their_kept_prefixes_again_and_all_replicas_work(cluster: Cluster) -> None:
    client = cluster.openai()
    before = cluster.counts("amulet_answers_total")
    replicas = set()
    for user in USERS:
        first = client.chat.completions.create(**turn(cluster, user, f"{user} {LONG}"))
        said = (f"{user} {LONG}", first.choices[0].message.content or "-", "Go on.")
        for _ in range(2):
            since = cluster.counts("amulet_answers_total")
            second = client.chat.completions.create(**turn(cluster, user, *said))
            (replica,) = cluster.counts("amulet_answers_total") - since
            replicas.add((user, replica))
            kept = second.usage.prompt_tokens_details.cached_tokens
            assert kept >= 0.9 * first.usage.prompt_tokens > 100
    assert len(replicas) == len(USERS)
    # A chance of 1 in 32 that one replica has all six, but for what other tests have done.
    assert set(cluster.counts("amulet_answers_total") - before) <= cluster.replicas()


def test_a_profile_is_in_force_on_the_other_replica_at_the_next_call(cluster: Cluster) -> None:
    """Each round is another writer; the user's own replica has read the former profile."""
    others = 0
    with cluster.http() as http:
        for number in count(1):
            routes = {"route": "/v1/profiles/{user_id}", "method": "PUT"}
            writes = cluster.counts("amulet_http_requests_total", **routes)
            reads = cluster.counts("amulet_answers_total")
            text = f"Answer in {number} words."
            written = http.put("/v1/profiles/ann", json={"preferences": [{"text": text}]})
            assert written.status_code in (200, 201)
            answer = http.post("/v1/chat/completions", json=turn(cluster, "ann", "Why?")).json()
            assert answer["amulet"]["profile_version"] == written.json()["version"]
            (writer,) = cluster.counts("amulet_http_requests_total", **routes) - writes
            (reader,) = cluster.counts("amulet_answers_total") - reads
            others += writer != reader
            if number >= 3 and others >= 2:
                break
            assert number < 40


def test_a_client_that_goes_away_frees_the_engine_and_streams_are_not_held_back(
    cluster: Cluster,
) -> None:
    before = cluster.counts("amulet_answers_total", finish_reason="cancelled")
    body = {**turn(cluster, "ben", "Tell me all."), "max_tokens": 3000, "min_tokens": 3000}
    body |= {"stream": True}
    with cluster.http() as http:
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert "text/event-stream" in response.headers["content-type"]
            assert next(response.iter_lines()).startswith("data: {")
        # So it came before the last of 3000 tokens, and the rest is not computed.
        cluster.wait(
            lambda: (
                (cluster.counts("amulet_answers_total", finish_reason="cancelled") - before).total()
                and not cluster.counts("amulet_num_requests_running").total()
            )
        )


def test_errors_are_those_of_openai(cluster: Cluster) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{cluster.url}/v1", api_key="no-key").models.list()
    client = cluster.openai(max_retries=0)
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(**{**turn(cluster, "ann", "Why?"), "model": "no-such-model"})
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(**turn(cluster, "ann", "Why?"), temperature=-1)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**turn(cluster, "ann", "x" * 2_200_000))
    assert caught.value.status_code == 413
    with cluster.http() as http:
        answer = http.get("/v1/models", headers={"X-Request-Id": "a-1"})
        assert answer.headers.get_list("X-Request-Id") == ["a-1"]
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").json() == {"status": "ready"}


def test_a_replica_is_killed_under_load_and_nobody_who_retries_loses_a_request(
    cluster: Cluster,
) -> None:
    """Streams that had begun end with an error; all others are answered."""
    client, stop = cluster.openai(), threading.Event()
    answered, broken, lost = [], [], []

    def ask(number: int) -> None:
        for turn_number in count():
            if stop.is_set():
                return
            body = {**turn(cluster, f"caller-{number}", f"{turn_number}?"), "max_tokens": 40}
            try:
                if number % 2:
                    client.chat.completions.create(**body)
                else:
                    for _ in client.chat.completions.create(**body, stream=True):
                        pass
                answered.append(number)
            except openai.APIStatusError as error:
                lost.append(error)
            except openai.APIError as error:  # what the last event of a stream says
                (broken if number % 2 == 0 else lost).append(error)

    before = cluster.replicas()
    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(ask, number) for number in range(8)]
        try:
            cluster.wait(lambda: len(answered) > 16)
            killed = cluster.kill_a_replica()
            so_far = len(answered)
            cluster.wait(lambda: len(answered) > so_far + 16)
            cluster.wait(lambda: len(cluster.replicas()) == 2 and cluster.replicas() != before)
            so_far = len(answered)
            cluster.wait(lambda: len(answered) > so_far + 16)
        finally:
            stop.set()
        for it in running:
            it.result()
    assert not lost
    assert all(error.code == "replica_lost" for error in broken)
    assert len(broken) <= 4  # no more than streams at that time
    assert killed not in cluster.model_processes()
    print(f"{len(answered)} answered, {len(broken)} streams broken off, none lost")  # noqa: T201


def test_nothing_that_users_wrote_is_in_a_log_of_ray(cluster: Cluster) -> None:
    user = "somebody-unmistakable"
    with cluster.http() as http:
        profile = {"preferences": [{"text": f"Mention {SECRET}."}]}
        assert http.put(f"/v1/profiles/{user}", json=profile).status_code == 201
        body = turn(cluster, user, f"What is {SECRET}?")
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        assert http.post("/v1/chat/completions", json={**body, "n": SECRET}).status_code == 400
        http.get(f"/v1/profiles/{user}?{SECRET}={SECRET}")
        json_type = {"Content-Type": "application/json"}
        cut = http.post("/v1/chat/completions", content=json.dumps(body)[:-9], headers=json_type)
        assert cut.status_code == 400
        metrics = http.get("/metrics").text
    written = cluster.logs()
    assert "/v1/profiles/{user_id}" in written  # our own lines are among them
    for secret in (SECRET, user, cluster.key, USERS[0]):
        assert secret not in written
        assert secret not in metrics


def test_a_replica_that_is_stopped_ends_its_streams_first(cluster: Cluster) -> None:
    """Two replicas become one while both stream."""
    body = {"max_tokens": 400, "min_tokens": 400, "stream": True}

    def read(user: str) -> int:
        stream = cluster.openai().chat.completions.create(
            **{**turn(cluster, user, "Tell me."), "max_tokens": 400},
            stream=True,
            extra_body={"min_tokens": body["min_tokens"]},
        )
        return sum(bool(chunk.choices) for chunk in stream)

    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(read, user) for user in USERS]
        cluster.wait(lambda: cluster.counts("amulet_num_requests_running").total() >= 2)
        cluster.apply(num_replicas=1)
        assert all(it.result() > 50 for it in reading)


def test_a_full_replica_hands_on_and_full_replicas_refuse(cluster: Cluster) -> None:
    cluster.apply(max_ongoing_requests=1, max_queued_requests=1)
    client = cluster.openai(max_retries=0)
    before = cluster.counts("amulet_answers_total")

    def ask(number: int) -> openai.APIStatusError | None:
        try:
            client.chat.completions.create(
                **{**turn(cluster, "ann", f"{number}?"), "max_tokens": 300},
                extra_body={"min_tokens": 300},
            )
        except openai.APIStatusError as error:
            return error
        return None

    with ThreadPoolExecutor(16) as threads:
        ends = list(threads.map(ask, range(16)))
    refused = [it for it in ends if it is not None]
    assert 0 < len(refused) < 16
    assert {it.status_code for it in refused} == {429}
    assert all(it.response.headers["Retry-After"] for it in refused)
    assert {it.code for it in refused} == {"engine_overloaded"}
    # All of them are of one user, and both replicas have worked.
    assert len(cluster.counts("amulet_answers_total") - before) == 2
