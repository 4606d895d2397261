"""The container file and the compose file name what there is: no container engine is needed."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from amulet_integrations.cli.app import app as command_line
from amulet_integrations.profiles.stores.sql.database_url import database_url
from amulet_integrations.serving import ServerSettings, create_app

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "docs" / "deploy"
OURS = "AMULET_"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a container
NOT_SETTINGS = {"AMULET_CACHE_DIR"}


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The container file's instructions, each with what follows it."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (it.partition(" ") for it in lines) if word]


@pytest.fixture(scope="module")
def image_environment(instructions) -> dict[str, str]:
    given = shlex.split(" ".join(rest for word, rest in instructions if word == "ENV"))
    return dict(it.split("=", 1) for it in given)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def options() -> list[Any]:
    command: Any = typer.main.get_command(command_line)
    return command.commands["serve"].params


def the(instructions: list[tuple[str, str]], word: str) -> str:
    """What follows the last instruction of a kind."""
    return [rest for found, rest in instructions if found == word][-1]


def settings_of(command: list[str], environment: dict[str, str], options) -> ServerSettings:
    """What `amulet serve` would make of a command and an environment."""
    by_name = {name: it.name for it in options for name in it.opts}
    by_variable = {it.envvar: it.name for it in options}
    ours = {name: value for name, value in environment.items() if name.startswith(OURS)}
    given = {by_variable[name]: value for name, value in ours.items() if name not in NOT_SETTINGS}
    assert command[0] == "serve"
    given |= {
        by_name[name]: value for name, value in zip(command[1::2], command[2::2], strict=True)
    }
    return ServerSettings(**given)


def test_the_image_serves_with_keys_as_a_user_without_rights(
    instructions, image_environment, options
):
    command = [*json.loads(the(instructions, "ENTRYPOINT")), *json.loads(the(instructions, "CMD"))]
    assert command.pop(0) == "amulet"
    settings = settings_of(command, image_environment, options)
    assert (settings.host, settings.keys) == (EVERYWHERE, Path("/run/secrets/amulet_keys"))
    assert the(instructions, "EXPOSE") == str(settings.port)
    user = the(instructions, "USER")
    assert any(f"useradd --uid 1000 --create-home {user}" in rest for _, rest in instructions)
    words = [word for word, _ in instructions]
    assert words.index("USER") < words.index("ENTRYPOINT")
    volume = the(instructions, "VOLUME")
    for name in ("HF_HOME", "AMULET_CACHE_DIR"):
        assert image_environment[name].startswith(f"{volume}/")


def test_the_image_is_checked_where_the_server_says_that_it_is_ready(instructions, tiny_engine):
    check = json.loads(the(instructions, "HEALTHCHECK").partition("CMD ")[2])
    (path,) = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", check[-1])
    assert path == "/readyz"
    description = create_app(ServerSettings(profiles=None), engine=tiny_engine).openapi()
    assert set(description["paths"][path]["get"]["responses"]) == {"200", "503"}
    compile(check[-1], "the check", "exec")


def test_what_the_image_installs_is_there(instructions):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = " ".join(rest for word, rest in instructions if word == "RUN")
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', run)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    model = re.search(r"EMBEDDED_MODEL := (\S+)", (ROOT / "Makefile").read_text())
    assert model is not None
    assert model[1] in run
    copied = [rest.split()[:-1] for word, rest in instructions if word == "COPY"]
    for name in (it for names in copied for it in names if not names[0].startswith("--")):
        assert (ROOT / name).exists(), name


def test_the_composed_server_has_settings_that_it_accepts(compose, image_environment, options):
    server = compose["services"]["server"]
    environment = {**image_environment, **server["environment"]}
    settings = settings_of(server["command"], environment, options)
    assert settings.keys == Path("/run/secrets", *server["secrets"])
    assert server["secrets"] == list(compose["secrets"])
    (port,) = server["ports"]
    assert port == f"127.0.0.1:8000:{settings.port}"
    assert float(server["stop_grace_period"].removesuffix("s")) > settings.shutdown_timeout + 5
    assert (ROOT / "docs/deploy" / server["build"]["context"]).resolve() == ROOT
    assert (ROOT / server["build"]["dockerfile"]) == FOLDER / "Containerfile"
    (volume,) = server["volumes"]
    assert volume.partition(":")[2] == "/cache"
    assert volume.partition(":")[0] in compose["volumes"]


def test_the_server_finds_the_database_that_is_beside_it(compose):
    server, postgres = (compose["services"][name] for name in ("server", "postgres"))
    url = re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", server["environment"]["AMULET_PROFILES"])
    database = postgres["environment"]
    expected = f"{database['POSTGRES_USER']}:POSTGRES_PASSWORD@postgres"
    assert url == f"postgresql://{expected}/{database['POSTGRES_DB']}"
    assert database_url(url).host == "postgres"
    assert server["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert database["POSTGRES_USER"] in postgres["healthcheck"]["test"]
