"""What Ray Serve makes of its file, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
from ray.serve.schema import ServeDeploySchema

from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError
from amulet_integrations.serving import ServerSettings
from amulet_integrations.serving.ray import build_app

FILE = Path("docs/deploy/ray-serve.yaml")


def test_the_file_in_the_documentation_is_one_of_ray_and_of_ours() -> None:
    configuration = ServeDeploySchema(**yaml.safe_load(FILE.read_text()))
    (application,) = configuration.applications
    assert application.import_path == "amulet_integrations.serving.ray:build_app"
    built: Any = build(build_app, application.args)
    ingress = built._bound_deployment
    settings, model = ingress.init_args
    assert settings == ServerSettings(**application.args, profiles_ttl=0)
    assert model._bound_deployment.init_args == (settings,)
    names = {ingress.name, model._bound_deployment.name}
    assert names == {it.name for it in application.deployments}


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ({"modell": "embedded"}, UnknownArgumentError, "did you mean 'model'"),
        ({"max_tokens": 0}, InvalidParamsError, "max_tokens=0"),
        ({"port": 8000}, InvalidParamsError, "http_options.port"),
    ],
)
def test_a_wrong_setting_is_refused_before_a_replica_starts(args, error, message) -> None:
    with pytest.raises(error, match=message):
        build(build_app, args)


def test_stopped_replicas_have_the_time_that_the_server_has() -> None:
    built: Any = build(build_app, {"shutdown_timeout": 7, "max_waiting": 3, "max_connections": 9})
    ingress = built._bound_deployment
    model = ingress.init_args[1]._bound_deployment
    left = [it._deployment_config.graceful_shutdown_timeout_s for it in (model, ingress)]
    assert left[0] == 7 < left[1]
    assert (model.max_queued_requests, ingress.max_ongoing_requests) == (3, 9)
