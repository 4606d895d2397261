"""The description of the API is true: what schemathesis makes of it is answered as it says."""

from __future__ import annotations

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

from amulet_integrations.serving import ServerSettings, create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(tiny_engine, tmp_path_factory):
    """The description of a server of a tiny model, whose answers are short."""
    place = tmp_path_factory.mktemp("described") / "profiles.db"
    short = {"max_tokens": 8, "default_max_tokens": 8, "max_choices": 2}
    app = create_app(ServerSettings(profiles=place, **short), engine=tiny_engine)
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    schema.config.update(
        base_url="http://127.0.0.1"
    )  # the only host that a server without keys has
    return schema


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_it_is_described(described, mode):
    operations = [found.ok() for found in described.get_all_operations()]
    assert operations
    failures = {}
    for operation in operations:

        @settings(
            max_examples=20,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_described(case):
            case.call_and_validate(checks=CHECKS)

        try:
            answers_as_described()
        except Unsatisfiable:  # nothing of it can be wrong
            continue
        except FailureGroup as group:
            failures[operation.label] = group.exceptions
    assert not failures
