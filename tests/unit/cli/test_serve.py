"""`amulet serve`: every setting is an option, and nothing is loaded for a wrong one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from amulet_integrations import serving
from amulet_integrations.cli.app import app
from amulet_integrations.installation import install_command
from amulet_integrations.serving import ServerSettings
from tests.unit.cli.conftest import Amulet

# A value of each setting, as it is typed, and what it comes to.
GIVEN: dict[str, tuple[str, Any]] = {
    "model": ("./a-model", "./a-model"),
    "engine": ("vllm", "vllm"),
    "engine_options": ("max_rows=8", {"max_rows": 8}),
    "host": ("::1", "::1"),
    "port": ("9000", 9000),
    "dtype": ("float32", "float32"),
    "device": ("cpu", "cpu"),
    "backend": ("llama_cpp", "llama_cpp"),
    "profiles": ("sqlite:///p.db", "sqlite:///p.db"),
    "profiles_ttl": ("0", 0.0),
    "keys": ("keys.json", Path("keys.json")),
    "user_headers": ("X-OpenWebUI-User-Id", ("X-OpenWebUI-User-Id",)),
    "max_guidance_scale": ("2.5", 2.5),
    "max_tokens": ("100", 100),
    "default_max_tokens": ("50", 50),
    "max_choices": ("2", 2),
    "max_body_size": ("1000", 1000),
    "max_streams": ("3", 3),
    "max_connections": ("7", 7),
    "max_waiting": ("0", 0),
    "timeout": ("9.5", 9.5),
    "receive_timeout": ("4", 4.0),
    "send_timeout": ("5", 5.0),
    "shutdown_timeout": ("0", 0.0),
    "preference_check": ("rules:check", "rules:check"),
    "share_prefixes": ("true", True),
    "cors_origins": ("https://a.example", ("https://a.example",)),
    "ignored_parameters": ("chat_id", ("chat_id",)),
}
by_field = pytest.mark.parametrize("field", ServerSettings.model_fields)


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerSettings]:
    """The settings of the servers that were started; each of them was ready at once."""
    started: list[ServerSettings] = []

    def run_server(settings: ServerSettings, *, on_ready: Callable[[str], object]) -> None:
        started.append(settings)
        on_ready(f"http://{settings.host}:{settings.port}")

    monkeypatch.setattr(serving, "run_server", run_server)
    return started


def options() -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    return {option.name: option for option in command.commands["serve"].params}


def test_every_setting_is_an_option_and_an_environment_variable() -> None:
    found = {name: option.envvar for name, option in options().items()}
    assert found == {name: f"AMULET_{name.upper()}" for name in ServerSettings.model_fields}


def test_without_options_the_settings_have_their_defaults(
    amulet: Amulet, served: list[ServerSettings]
) -> None:
    assert amulet("serve").exit_code == 0
    assert served == [ServerSettings()]


@by_field
def test_each_option_and_variable_is_a_setting(
    amulet: Amulet, served: list[ServerSettings], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    typed, value = GIVEN[field]
    name = options()[field].opts[0]
    by_option = amulet("serve", name, *(() if field == "share_prefixes" else (typed,)))
    monkeypatch.setenv(f"AMULET_{field.upper()}", typed)
    by_variable = amulet("serve")

    assert (by_option.exit_code, by_variable.exit_code) == (0, 0), by_option.stderr
    assert served == [ServerSettings(**{field: value})] * 2


@by_field
def test_an_empty_variable_is_none(
    amulet: Amulet, served: list[ServerSettings], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setenv(f"AMULET_{field.upper()}", "")
    assert amulet("serve").exit_code == 0
    assert served == [ServerSettings()]


def test_an_option_goes_before_its_variable(
    amulet: Amulet, served: list[ServerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_PORT", "9000")
    amulet("serve", "--port", "9001")
    assert served[0].port == 9001


@pytest.mark.parametrize("names", ["X-A X-B", "X-A,X-B", " X-A,  X-B "])
def test_a_variable_holds_several(
    amulet: Amulet, served: list[ServerSettings], monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setenv("AMULET_USER_HEADERS", names)
    amulet("serve")
    amulet("serve", "--user-header", "X-A", "--user-header", "X-B")
    assert [settings.user_headers for settings in served] == [("X-A", "X-B")] * 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--port", "70000"), "port=70000"),
        (("--port", "http"), "--port"),
        (("--host", "192.0.2.1"), "there are no keys"),
        (("--host", "example.com"), "amulet keys create"),
        (("--max-tokens", "0"), "max_tokens=0"),
        (("--backend", "ollama"), "backend='ollama'"),
        (("--timeout", "nan"), "timeout=nan"),
        (("--timeout", "inf"), "timeout=inf"),
        (("--max-guidance-scale", "-1"), "max_guidance_scale=-1"),
        (("--prot", "9000"), "--port"),
        (("--engine", "vlm"), "engine='vlm'"),
        (("--engine-option", "max_rows"), "'max_rows': write a name, '=' and a value"),
        (("--engine-option", "=4"), "'=4': write a name"),
        (("--engine-option", "max_rows=4", "--engine-option", "max-rows=8"), "'max_rows' twice"),
        (("--engine-option", "max_row=4"), "did you mean 'max_rows'?"),
        (("--engine-option", "dtype=float32"), "--dtype"),
        (("--engine-option", "max_waiting=4"), "--max-waiting"),
        (("--engine", "vllm", "--engine-option", "model=a"), "--model"),
        (("--engine", "vllm", "--device", "cuda:1"), "CUDA_VISIBLE_DEVICES"),
        (("--engine", "vllm", "--backend", "llama_cpp"), "vLLM computes by itself"),
        (("--engine-option", "n_ctx=-5"), "0 or more"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_loaded(
    amulet: Amulet, served: list[ServerSettings], args: tuple[str, ...], message: str
) -> None:
    result = amulet("serve", *args)

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not served


def test_options_of_the_engine_are_read_as_json_or_text(
    amulet: Amulet, served: list[ServerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {
        "max_model_len": ("8192", 8192),
        "gpu_memory_utilization": ("0.9", 0.9),
        "enforce_eager": ("true", True),
        "revision": ('"1"', "1"),
        "quantization": ("fp8", "fp8"),
        "tokenizer": ("null", None),
        "hf_overrides": ('{"a":[1]}', {"a": [1]}),
        "served_model_name": ("a=b", "a=b"),
        "load_format": ("NaN", "NaN"),
    }
    typed = [f"{name}={text}" for name, (text, _) in values.items()]
    options = [word for text in typed for word in ("--engine-option", text)]
    amulet("serve", "--engine", "vllm", *options)
    monkeypatch.setenv("AMULET_ENGINE_OPTIONS", " ".join(typed))
    amulet("serve", "--engine", "vllm")
    expected = {name: value for name, (_, value) in values.items()}
    assert [settings.engine_options for settings in served] == [expected] * 2
    assert [settings.engine for settings in served] == ["vllm"] * 2


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_what_is_missing_is_named_with_the_line_that_installs_it(
    amulet: Amulet, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delitem(sys.modules, "amulet_integrations.serving.run")
    monkeypatch.delattr(serving, "run_server")
    monkeypatch.setitem(sys.modules, missing, None)
    result = amulet("serve")

    assert result.exit_code == 2
    assert f"{missing} is not installed" in result.stderr
    assert install_command("serve") in result.stderr


@pytest.mark.parametrize("keys", [None, "keys.json"])
def test_it_says_where_it_listens_for_whom_and_how_to_ask(amulet: Amulet, keys: str | None) -> None:
    model = "it's/a model"
    result = amulet("serve", "--model", model, *(("--keys", keys) if keys else ()))

    assert result.stdout == ""
    loading, listening, who, where, how = result.stderr.splitlines()
    assert model in loading
    assert f"{model} on http://127.0.0.1:8000" in listening
    assert ("keys.json" if keys else "No keys") in who
    assert f"http://127.0.0.1:8000/v1, model {model}." in where
    words = shlex.split(how.removeprefix("Ask: "))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert ("Authorization: Bearer $AMULET_KEY" in words) == bool(keys)
    assert json.loads(words[-1])["model"] == model


def test_the_help_cuts_no_name_off(amulet: Amulet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in amulet("serve", "--help").stdout


def test_the_lines_steer_no_terminal(amulet: Amulet) -> None:
    assert "\x1b" not in amulet("serve", "--model", "a\x1b[31mb").stderr
