"""`amulet serve`: the model behind OpenAI's API, for every client."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.serving.settings import ServerSettings

from . import options, terminal
from .loading import quiet_transformers
from .option_values import read_named_values

EPILOG = options.examples(
    "amulet serve",
    "amulet serve --model ./my-model --port 9000 --profiles profiles.db",
    "amulet serve --engine vllm --model Qwen/Qwen3-8B --engine-option max_model_len=8192",
    "amulet keys create --user ann --keys keys.json",
    "amulet serve --host 0.0.0.0 --keys keys.json --user-header X-OpenWebUI-User-Id",
    "AMULET_MODEL=./my-model AMULET_PORT=9000 amulet serve",
)


def _setting(field: str, metavar: str | None, text: str, *names: str, **more: Any) -> Any:
    """The option of a setting, with its environment variable and its default."""
    shown = {"default": str(ServerSettings.model_fields[field].default), **more}
    return options.option(metavar, text, *names, envvar=f"AMULET_{field.upper()}", **shown)


_model = partial(_setting, panel="The model")
_where = partial(_setting, panel="Where it listens")
_users = partial(_setting, panel="Who is asking")
_between = partial(_setting, panel="Between users")
_most = partial(_setting, panel="What a request may ask for")
_limit = partial(_setting, panel="Under load")


def serve(
    *,
    model: Annotated[
        str | None,
        _model(
            "model",
            "NAME",
            "Hugging Face id, local folder, GGUF file, ollama:NAME for one of Ollama's, or "
            f"'{EMBEDDED}' (SmolLM2-135M-Instruct). Clients send the same name.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        _model("engine", "NAME", "What decodes: local (--backend), or vllm, if it is installed."),
    ] = None,
    engine_options: Annotated[
        list[str] | None,
        _model(
            "engine_options",
            "NAME=VALUE",
            "An argument of the engine: of vLLM's, such as max_model_len=8192, or of the local "
            "engine's, such as max_rows=128 or llama.cpp's n_ctx=8192; repeat for more. Values are "
            "JSON or text.",
            "--engine-option",
            default="none",
        ),
    ] = None,
    dtype: Annotated[
        str | None, _model("dtype", "TYPE", "What it computes in, such as bfloat16.")
    ] = None,
    device: Annotated[
        str | None, _model("device", "NAME", "Where it computes, such as cpu or cuda:1.")
    ] = None,
    backend: Annotated[
        str | None,
        _model(
            "backend",
            "NAME",
            "What computes: transformers, llama_cpp, or auto, which is llama.cpp for GGUF files "
            "where it is installed.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        _where("host", "ADDRESS", "The address. One that other machines reach needs --keys."),
    ] = None,
    port: Annotated[int | None, _where("port", "N", "The port; 0 takes a free one.")] = None,
    cors_origins: Annotated[
        list[str] | None,
        _where(
            "cors_origins",
            "ORIGIN",
            "A page's origin, such as https://chat.example, that may call from a browser; repeat "
            "for more.",
            "--cors-origin",
            default="none",
        ),
    ] = None,
    profiles: Annotated[
        str | None,
        _users(
            "profiles",
            "PATH_OR_URL",
            "Where profiles are kept: an SQLite file or a database URL.",
            default="profiles.db in your data folder",
        ),
    ] = None,
    profiles_ttl: Annotated[
        float | None,
        _users(
            "profiles_ttl",
            "SECONDS",
            "For which a profile is remembered, so that what other processes write counts after "
            "them; 0 reads it for every request.",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        _users(
            "keys",
            "FILE",
            "The file of keys, made by amulet keys create. Without keys only this machine is "
            "served, and everybody on it may name any user.",
            "--keys",
            default="no keys",
        ),
    ] = None,
    user_headers: Annotated[
        list[str] | None,
        _users(
            "user_headers",
            "NAME",
            "A header that names the user where the body names none, such as X-OpenWebUI-User-Id; "
            "repeat for more. Keys of applications only.",
            "--user-header",
            default="none",
        ),
    ] = None,
    preference_check: Annotated[
        str | None,
        _users(
            "preference_check",
            "FUNCTION",
            "module:function, called with a user's id and a preference; returns the text to use, "
            "or raises ValueError.",
            default="none",
        ),
    ] = None,
    share_prefixes: Annotated[
        bool | None,
        _between(
            "share_prefixes",
            None,
            "Whether users share what was computed of prompts that begin alike. It is faster; by "
            "timing, users can then find out how others' prompts begin.",
            "--share-prefixes/--no-share-prefixes",
            default="shared where there are no keys",
        ),
    ] = None,
    max_guidance_scale: Annotated[
        float | None, _most("max_guidance_scale", "P", "The largest guidance scale.")
    ] = None,
    max_tokens: Annotated[int | None, _most("max_tokens", "N", "Most tokens of an answer.")] = None,
    default_max_tokens: Annotated[
        int | None,
        _most("default_max_tokens", "N", "Most tokens of an answer whose request does not say."),
    ] = None,
    ignored_parameters: Annotated[
        list[str] | None,
        _most(
            "ignored_parameters",
            "NAME",
            "A parameter that clients send and that means nothing here, which is ignored in place "
            "of refused; repeat for more.",
            "--ignore-parameter",
            default="none",
        ),
    ] = None,
    max_choices: Annotated[
        int | None, _most("max_choices", "N", "Most answers to one request.")
    ] = None,
    max_body_size: Annotated[
        int | None, _most("max_body_size", "BYTES", "Most bytes of a request's body.")
    ] = None,
    max_streams: Annotated[
        int | None, _limit("max_streams", "N", "Most requests that one key has in work.")
    ] = None,
    max_connections: Annotated[
        int | None, _limit("max_connections", "N", "Most connections at a time.")
    ] = None,
    max_waiting: Annotated[
        int | None, _limit("max_waiting", "N", "Most requests that wait for the model.")
    ] = None,
    timeout: Annotated[
        float | None,
        _limit("timeout", "SECONDS", "After which a request fails, waiting included."),
    ] = None,
    receive_timeout: Annotated[
        float | None,
        _limit("receive_timeout", "SECONDS", "Within which a request has to have arrived whole."),
    ] = None,
    send_timeout: Annotated[
        float | None,
        _limit("send_timeout", "SECONDS", "For which a client may take nothing of its answer."),
    ] = None,
    shutdown_timeout: Annotated[
        float | None,
        _limit("shutdown_timeout", "SECONDS", "Left to running requests when it is stopped."),
    ] = None,
) -> None:
    """Serve the model to every client that speaks OpenAI's API, with each user's preferences.

    Clients send chats and completions to /v1, name a user or bring the user's key, and are answered
    by that user's profile. The page at / shows what preferences do. Every option may be given by
    the environment too, as AMULET_ with its name.
    """
    settings = ServerSettings(**_given(locals()))
    from amulet_integrations.serving import run_server  # noqa: PLC0415 - an extra

    quiet_transformers()
    _tell(f"Loading {settings.model} …")
    run_server(settings, on_ready=partial(_introduce, settings))


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given; the others keep their defaults."""
    given = {name: value for name, value in parameters.items() if value not in (None, [])}
    for name in ("user_headers", "cors_origins", "ignored_parameters"):
        if name in given:  # the environment has several in one variable
            given[name] = tuple(filter(None, re.split(r"[\s,]+", " ".join(given[name]))))
    if "engine_options" in given:
        given["engine_options"] = read_named_values("--engine-option", given["engine_options"])
    return given


def _introduce(settings: ServerSettings, url: str) -> None:
    """Says where the server listens, whom it serves, and how to ask."""
    _tell(f"Serving {settings.model} on {url}. Ctrl-C stops it.")
    if settings.keys is None:
        _tell("No keys are in use: this machine alone is served, and may name any user.")
    else:
        _tell(f"Every request needs a key of {settings.keys}.")
    _tell(f"Clients: base URL {url}/v1, model {settings.model}. In a browser: {url}")
    question = {
        "model": settings.model,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }
    authorization = "" if settings.keys is None else '-H "Authorization: Bearer $AMULET_KEY" '
    _tell(
        f"Ask: curl {url}/v1/chat/completions {authorization}-H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(question))}"
    )


def _tell(line: str) -> None:
    typer.echo(terminal.one_line(line), err=True)
