"""The description of the API is true: what schemathesis makes of it is answered as it says."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from amulet_integrations.serving import ServerSettings, create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


ALWAYS = {
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "GET /v1/models",
    "GET /v1/me",
    "GET /healthz",
}
QUESTION = [{"role": "user", "content": "Hi"}]


def is_read(message) -> bool:
    """Whether a message is of a role that is not always refused."""
    return not isinstance(message, dict) or message.get("role") != "function"


@pytest.fixture(scope="module")
def described(tiny_engine, tmp_path_factory):
    """The description of a server of a tiny model, whose answers are short."""
    place = tmp_path_factory.mktemp("described") / "profiles.db"
    with SqlProfileStore(place) as store:
        store.save(PreferenceProfile(user_id="ann", preferences=["Be brief."]))
    short = {"max_tokens": 8, "default_max_tokens": 8, "max_choices": 2}
    app = create_app(ServerSettings(profiles=place, **short), engine=tiny_engine)
    model = app.state.amulet.settings.model
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    # A server without keys answers under no other host.
    schema.config.update(base_url="http://127.0.0.1")

    @schema.hook
    def map_body(context, body):
        """Names the model that is there, and no parent, which nobody may name; asks something."""
        if isinstance(body, dict):
            body = {**body, "model": model} if isinstance(body.get("model"), str) else body
            if isinstance(body.get("messages"), list):
                body = {**body, "messages": [*filter(is_read, body["messages"]), *QUESTION]}
            return {name: value for name, value in body.items() if name != "parent"}
        return body

    @schema.hook
    def map_path_parameters(context, path_parameters):
        """Names one user in half of the requests, so that there is a profile to change."""
        if path_parameters and len(str(path_parameters.get("user_id", ""))) % 2:
            path_parameters = {**path_parameters, "user_id": "ann"}
        return path_parameters

    return schema


def test_what_all_routes_below_v1_may_answer_is_described(described):
    paths = described.app.openapi()["paths"]
    for path in (it for it in paths if it.startswith("/v1/")):
        for operation in paths[path].values():
            assert operation["responses"].keys() >= {"401", "403", "413", "429", "500", "503"}, path


def tried_out(operation, mode) -> Counter[int]:
    """How often an operation answered with each status, all of them as it is described."""
    answered: Counter[int] = Counter()

    @settings(
        max_examples=20 if mode == GenerationMode.POSITIVE else 10,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case):
        response = case.call()
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    with suppress(Unsatisfiable):  # nothing of it can be wrong
        answers_as_described()
    return answered


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_it_is_described(described, mode):
    answered, failures = {}, {}
    for operation in (found.ok() for found in described.get_all_operations()):
        try:
            answered[operation.label] = tried_out(operation, mode)
        except FailureGroup as group:
            failures[operation.label] = group.exceptions
    assert not failures
    if mode == GenerationMode.POSITIVE:
        good = {label for label, counts in answered.items() if any(it < 300 for it in counts)}
        assert good >= ALWAYS | {it for it in answered if "/v1/profiles" in it}, answered


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
    ],
)
def test_answers_and_their_streams_are_as_described(described, path, asked, stream):
    body = {"model": described.app.state.amulet.settings.model, **asked, "stream": stream}
    case = described[path]["POST"].Case(body=body, media_type="application/json")
    response = case.call()
    assert response.status_code == 200
    case.validate_response(response, checks=CHECKS)
