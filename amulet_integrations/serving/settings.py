"""What an operator decides about a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from amulet_integrations.decoding.guidance import (
    DEFAULT_MAX_GUIDANCE_SCALE,
    LARGEST_GUIDANCE_SCALE,
)
from amulet_integrations.engine.model_source import EMBEDDED, BackendName
from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.profiles.stores.default_place import DEFAULT_PLACE
from amulet_integrations.validation import FrozenModel

from .access.header_names import checked_headers
from .access.loopback import check_bind_address, plain_host
from .access.web_origins import check_origins
from .engine_options import EngineName, check_options

MAX_BODY_SIZE = 2_097_152
"""Most bytes of a request's body, by default."""

MAX_REQUESTS = 64
"""Most requests that one key may have in work, by default."""

RECEIVE_TIMEOUT = 30.0
"""Seconds within which a body has to have arrived whole, by default."""


class ServerSettings(FrozenModel):
    """The settings of `create_app` and of `amulet serve`, which has an option for each.

    Attributes:
        model: Hugging Face id, local folder, GGUF file, "ollama:" and the name of a model of
            Ollama's, or "embedded"; also the name that clients send as `model`.
        host: The address to listen on. Without `keys` it has to be a loopback address.
        port: The port to listen on; 0 takes a free one.
        engine: "local" decodes in this process with transformers or llama.cpp, "vllm" with vLLM,
            which has to be installed.
        engine_options: Further arguments of the engine: those of `LocalEngine.from_pretrained`,
            such as max_rows, n_ctx or cuda_graphs; or vLLM's engine arguments, such as
            max_model_len or gpu_memory_utilization.
        dtype: As in `AmuletConfig`; for vLLM, its argument of this name.
        device: As in `AmuletConfig`; not for vLLM.
        backend: As in `AmuletConfig`; not for vLLM.
        profiles: A database URL, the path of an SQLite file, "default" (``profiles.db`` in the
            user's data folder, if it exists), or None for no profiles.
        profiles_ttl: Seconds for which a profile is remembered; what other processes write to the
            database counts after them at the latest. 0 reads it for every request.
        keys: The file of keys, from `amulet keys create`. None serves this machine only, and
            everybody on it may name any user.
        user_headers: Headers that name the user where the body names none, in this order. With a
            user's key they may name that user only.
        max_guidance_scale: The largest guidance scale that is accepted.
        max_tokens: Most tokens of an answer that a request may ask for.
        default_max_tokens: Most tokens of an answer whose request does not say.
        max_choices: Most answers to one request (`n`, and the prompts of a completion).
        max_body_size: Most bytes of a request's body; more are refused with 413.
        max_streams: Most requests that one key may have in work; more are refused with 429.
        max_connections: Most connections at a time; more are answered with 503.
        max_waiting: Most requests in the engine's queue; more are refused with 429.
        timeout: Seconds after which a request fails, waiting included.
        receive_timeout: Seconds within which a request has to have arrived whole.
        send_timeout: Seconds for which a client may take nothing of its answer.
        shutdown_timeout: Seconds that running requests have left when the server is stopped.
        preference_check: "module:function", called with the user's id (or None) and a preference's
            text. It returns the text to use, or raises `ValueError`, whose message the client sees.
        ignored_parameters: Names that bodies of chats and completions may hold although they mean
            nothing here, such as a front end's own. `amulet.ignored` of the answer lists them.
        share_prefixes: Whether prompts of different users share what has been computed of their
            common beginning. It is faster; a user can then find out by timing how other users'
            prompts begin. None shares it where no keys are in use.
        cors_origins: Origins whose pages may call the server from a browser, such as
            "http://localhost:3000". "*" is for all, where keys are in use.

    Raises:
        InvalidParamsError: A value is out of its range, or `host` or `cors_origins` is open to
            others without keys; an ignored parameter is one that this server reads; or an engine's
            option is a setting.
        UnknownArgumentError: The local engine has no such option. Which ones vLLM has is known when
            the application is made.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    model: str = EMBEDDED
    engine: EngineName = "local"
    engine_options: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    dtype: str = "auto"
    device: str = "auto"
    backend: BackendName = "auto"
    profiles: str | Path | None = DEFAULT_PLACE
    profiles_ttl: float = Field(default=10.0, ge=0.0, allow_inf_nan=False)
    keys: Path | None = None
    user_headers: tuple[str, ...] = ()
    max_guidance_scale: float = Field(
        default=DEFAULT_MAX_GUIDANCE_SCALE, gt=0.0, le=LARGEST_GUIDANCE_SCALE
    )
    max_tokens: int = Field(default=4096, ge=1)
    default_max_tokens: int = Field(default=512, ge=1)
    max_choices: int = Field(default=8, ge=1, le=128)
    max_body_size: int = Field(default=MAX_BODY_SIZE, ge=1)
    max_streams: int = Field(default=MAX_REQUESTS, ge=1)
    max_connections: int = Field(default=512, ge=1)
    max_waiting: int = Field(default=256, ge=0)
    timeout: float = Field(default=600.0, gt=0.0, allow_inf_nan=False)
    receive_timeout: float = Field(default=RECEIVE_TIMEOUT, gt=0.0, allow_inf_nan=False)
    send_timeout: float = Field(default=60.0, gt=0.0, allow_inf_nan=False)
    shutdown_timeout: float = Field(default=30.0, ge=0.0, allow_inf_nan=False)
    preference_check: str | None = None
    ignored_parameters: tuple[str, ...] = ()
    share_prefixes: bool | None = None
    cors_origins: tuple[str, ...] = ()

    @field_validator("host")
    @classmethod
    def _plain_host(cls, host: str) -> str:
        return plain_host(host)

    @field_validator("user_headers")
    @classmethod
    def _check_headers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return checked_headers(names)

    @field_validator("ignored_parameters")
    @classmethod
    def _check_ignored(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from .openai_api.requests.chat_request import ChatRequest  # noqa: PLC0415 - has to be quick
        from .openai_api.requests.completion_request import CompletionRequest  # noqa: PLC0415

        known = ChatRequest.parameter_names() | CompletionRequest.parameter_names()
        for name in names:
            if name in known or not name:
                raise InvalidParamsError(
                    f"ignored_parameters={name!r:.80} cannot be ignored: the server reads it. Name "
                    "parameters that no client of OpenAI's API knows."
                )
        return names

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        check_options(self.engine, self.device, self.backend, self.engine_options)
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        """Refuses an address or a page that others reach where there are no keys."""
        check_bind_address(self.host, has_keys=self.keys is not None)
        check_origins(self.cors_origins, has_keys=self.keys is not None)
        return self
