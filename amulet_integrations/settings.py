"""What both wrappers take, and how they read the arguments of a call."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from amulet_integrations.decoding.methods import Method
from amulet_integrations.decoding.params import DEFAULT_MAX_GUIDANCE_SCALE, AmuletParams
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.weights import DEFAULT_LINEAR_ALIGNMENT_RATIO
from amulet_integrations.engine.contract import Engine
from amulet_integrations.engine.loading import check_source
from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.engine.shared import shared_engine
from amulet_integrations.errors import (
    InvalidParamsError,
    UnknownArgumentError,
)
from amulet_integrations.personalizer import Personalizer
from amulet_integrations.profiles import (
    Preference,
    PreferenceProfile,
    ProfileStore,
    open_profile_store,
)
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import as_amulet_error
from amulet_integrations.whose import Whose, select

_WHOSE = ("preference", "profile", "user_id", "params", "method")
_SAMPLING = (
    "min_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
)
_SOURCE = (
    "model",
    "dtype",
    "device",
    "device_map",
    "revision",
    "local_files_only",
    "trust_remote_code",
    "quantization_config",
    "attn_implementation",
)
_OTHER = ("max_tokens", "max_new_tokens", "stop", "timeout", "chat_template_kwargs")
_ENVIRONMENT = {
    "model": "AMULET_MODEL",
    "dtype": "AMULET_DTYPE",
    "device": "AMULET_DEVICE",
    "profiles": "AMULET_PROFILES",
}


@dataclass(frozen=True)
class Call:
    """The arguments of one call, read.

    Attributes:
        whose: What they say about whose preferences to follow.
        sampling: The constructor's sampling parameters with the call's in their place.
        timeout: Seconds after which the request fails.
        chat_template_kwargs: Further variables of the model's chat template.
    """

    whose: Whose
    sampling: SamplingParams
    timeout: float | None
    chat_template_kwargs: Mapping[str, Any] | None = None


class AmuletSettings(BaseModel):
    """Fields that `ChatAmulet` and `AmuletLLM` share. Unknown names are refused.

    Where the constructor is not given `model`, `dtype`, `device` or `profiles`, the environment
    variables AMULET_MODEL, AMULET_DTYPE, AMULET_DEVICE and AMULET_PROFILES stand in; blank ones
    count as not set. Explicit values, None too, go before.

    Attributes:
        model: Hugging Face id, local folder, or "embedded" (SmolLM2-135M-Instruct). Its config is
            read at once, so a wrong name fails here; the weights are loaded on first use, once
            for all wrappers with the same model settings.
        dtype: "auto" (the checkpoint's) or "float32", "bfloat16", "float16".
        device: "auto" (CUDA, then MPS, then CPU) or a torch device.
        device_map: As in transformers, for models larger than one device.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether never to ask the hub.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        quantization_config: A transformers quantization config.
        attn_implementation: As in transformers.
        engine: An engine to use instead of loading one.
        preference: A preference (or its text) for calls that name nobody.
        preference_profile: A profile for calls that name nobody; the constructor takes it as
            `profile`.
        user_id: The user for calls that name nobody.
        pinned: Whether `user_id` holds against configs and scopes as well; `for_user` sets it.
        profiles: The store of users' profiles, a database URL, or the path of an SQLite file.
        method: "amulet", "linear_alignment", "pref" (the preference in the prompt, nothing more)
            or "base" (no preferences).
        params: Amulet's parameters; those of a call or a profile go before.
        linear_alignment_ratio: The ratio rho of linear alignment.
        max_guidance_scale: The largest strength accepted; the operator's bound.
        separator: Stands between the system message and the preference.
        include_preference_text: Whether answers' metadata tells the preferences' texts. They
            reach callbacks and traces then.
        max_tokens: Most tokens of an answer; also as `max_new_tokens`.
        min_new_tokens: Fewest tokens of an answer. At 1 no answer is empty, although small models
            sometimes end theirs at once.
        temperature: 0 is greedy.
        top_p: Keeps the smallest set of tokens with this much probability.
        top_k: Keeps this many tokens; 0 keeps all.
        min_p: Drops tokens below this fraction of the likeliest one's probability.
        repetition_penalty: Above 1 discourages tokens already in the answer.
        seed: Makes sampling repeatable.
        stop: Strings that end an answer.
        timeout: Seconds after which a request fails with `RequestTimeoutError`.
        chat_template_kwargs: Further variables of the model's chat template, such as
            ``{"enable_thinking": False}``; those of a call are put over them one by one.
        steer_strings: Whether preferences steer the text inside the strings of structured output
            with the strength they have in prose; otherwise they are in the prompt and no more.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, populate_by_name=True, protected_namespaces=()
    )

    model: str = EMBEDDED
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    quantization_config: Any = Field(default=None, exclude=True, repr=False)
    attn_implementation: str | None = None
    engine: Engine | None = Field(default=None, exclude=True, repr=False)

    preference: str | Preference | None = Field(default=None, exclude=True, repr=False)
    preference_profile: PreferenceProfile | None = Field(default=None, exclude=True, repr=False)
    user_id: str | None = None
    pinned: bool = Field(default=False, exclude=True, repr=False)
    profiles: ProfileStore | str | Path | None = Field(default=None, exclude=True, repr=False)
    method: Method = "amulet"
    params: AmuletParams = AmuletParams()
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO
    max_guidance_scale: float = Field(default=DEFAULT_MAX_GUIDANCE_SCALE, gt=0.0)
    separator: str = DEFAULT_SEPARATOR
    include_preference_text: bool = False

    max_tokens: int = Field(default=512, alias="max_new_tokens")
    min_new_tokens: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float | None = Field(default=None, gt=0.0)
    chat_template_kwargs: dict[str, Any] | None = None
    steer_strings: bool = False

    _resources: _Resources = PrivateAttr(default_factory=lambda: _Resources())  # noqa: PLW0108 - defined below

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            # Not `from error`: pydantic's error quotes its input, and tracebacks are logged.
            raise as_amulet_error(error, type(self), InvalidParamsError) from None

    @model_validator(mode="before")
    @classmethod
    def _untangle_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = {**cls._environment(), **data}
        _one_limit(data)
        if "profile" in data and not cls._is_model_profile(data["profile"]):
            data["preference_profile"] = data.pop("profile")
        if isinstance(data.get("stop"), str):
            data["stop"] = (data["stop"],)
        return data

    @classmethod
    def _environment(cls) -> dict[str, str]:
        values = {name: os.environ.get(variable, "") for name, variable in _ENVIRONMENT.items()}
        return {name: value.strip() for name, value in values.items() if value.strip()}

    @classmethod
    def _is_model_profile(cls, profile: Any) -> bool:
        """Under the name `profile`, LangChain's models keep what the model is able to do."""
        other = isinstance(profile, Mapping) and not profile.keys() & PreferenceProfile.model_fields
        return "profile" in cls.model_fields and (profile is None or other)

    @field_validator("dtype", mode="before")
    @classmethod
    def _name_dtype(cls, dtype: Any) -> Any:
        return ModelSource(dtype=dtype).dtype

    @field_validator("preference_profile", mode="before")
    @classmethod
    def _read_profile(cls, profile: Any) -> Any:
        return Whose(profile=profile).profile

    @model_validator(mode="after")
    def _check_early(self) -> Self:
        # Made to be refused where a value is out of its range; nothing is loaded or opened.
        _ = self.sampling, self._personalizer(None)
        if self.engine is None:
            check_source(self.source)
        else:
            self.model = self.engine.model_name
        return self

    def of_model(self, model: str | None) -> Self:
        """This wrapper with another model, for a call that names one; may read its config.

        It has the same settings but `revision` and `trust_remote_code`, which were said of this
        model's checkpoint. Its engine stays loaded as long as this wrapper is held.

        Raises:
            InvalidParamsError: `model` is no name.
            ModelError: There is no such checkpoint, or it cannot be run.
        """
        if model is None or model == self.model:
            return self
        if not isinstance(model, str) or not model.strip():
            raise InvalidParamsError(f"model={model!r}: give a Hugging Face id or a local folder.")
        changes = {"model": model, "engine": None, "revision": None, "trust_remote_code": False}
        other = self.model_copy(update=changes)
        self._resources.check(other.source)
        return other

    @property
    def source(self) -> ModelSource:
        """Which model to load and how."""
        return ModelSource(**{name: getattr(self, name) for name in _SOURCE})

    @property
    def sampling(self) -> SamplingParams:
        """The constructor's sampling parameters."""
        values = {name: getattr(self, name) for name in _SAMPLING}
        return SamplingParams(max_new_tokens=self.max_tokens, stop=self.stop, **values)

    def load_engine(self) -> Engine:
        """The engine that answers; loads the model on first use."""
        return self.engine or self._resources.engine(self.source)

    @property
    def personalizer(self) -> Personalizer:
        """Resolves users and asks the engine; opens the store, and loads the model when asked."""
        return self._personalizer(self._resources.store(self.profiles))

    def _personalizer(self, store: ProfileStore | None) -> Personalizer:
        return Personalizer(
            self.load_engine,
            profiles=store,
            default=self._default,
            method=self.method,
            params=self.params,
            linear_alignment_ratio=self.linear_alignment_ratio,
            max_guidance_scale=self.max_guidance_scale,
            separator=self.separator,
        )

    def select(self, call: Whose, config_user_id: str | None = None) -> Whose:
        """As `personalizer.select`; does no I/O, so it may be called on an event loop."""
        if self.pinned and not call.names_somebody:
            call = call.model_copy(update={"user_id": self.user_id})
        return select(
            call, config_user_id, default=self._default, searchable=self.profiles is not None
        )

    def for_user(self, user_id: str) -> Self:
        """A copy that answers this user, on the same engine and store; it costs next to nothing.

        The user counts as named by each call: neither a config nor a scope speaks for another
        one, only a call's own arguments do. Unlike a bound keyword argument it is part of the
        model, so that nothing built from the model loses it.

        Raises:
            PreferenceSelectionError: There is no store to look the user up in.
            InvalidProfileError: `user_id` is no valid user id.
        """
        self.select(Whose(user_id=checked_label("user_id", user_id)))
        named = {"user_id": user_id, "preference": None, "preference_profile": None}
        return self.model_copy(update={**named, "pinned": True})

    def __getstate__(self) -> dict[str, Any]:
        if self.engine is None:
            return super().__getstate__()
        # The model itself is not written out: whoever reads this loads it by its name.
        return self.model_copy(update={"engine": None}).__getstate__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Engines and stores are shared, not copied.
        memo = {} if memo is None else memo
        memo.update({id(it): it for it in (self.engine, self.profiles, self._resources)})
        return super().__deepcopy__(memo)

    def read_call(self, arguments: Mapping[str, Any], also: Collection[str] = ()) -> Call:
        """Reads the keyword arguments of a call.

        Args:
            arguments: All of them.
            also: Names that mean something to the wrapper, which reads them itself.

        Raises:
            UnknownArgumentError: One of them means nothing here.
            InvalidParamsError: A sampling parameter is out of its range.
            PreferenceSelectionError: They name more than one preference, profile or user.
        """
        known = {*_WHOSE, *_SAMPLING, *_OTHER, *also}
        if unknown := arguments.keys() - known:
            raise UnknownArgumentError.for_names(f"A call of {type(self).__name__}", unknown, known)
        given = {name: value for name, value in arguments.items() if value is not None}
        _one_limit(given)
        changes = {name: given[name] for name in (*_SAMPLING, "stop") if name in given}
        for name in ("max_tokens", "max_new_tokens"):
            if name in given:
                changes["max_new_tokens"] = given[name]
        timeout = given.get("timeout", self.timeout)
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise InvalidParamsError(f"timeout={timeout!r}: give seconds above 0, or None.")
        return Call(
            whose=Whose(**{name: given[name] for name in _WHOSE if name in given}),
            sampling=self.sampling.model_copy(update=changes),
            timeout=timeout,
            chat_template_kwargs=self._template_kwargs(given.get("chat_template_kwargs")),
        )

    def _template_kwargs(self, given: Any) -> dict[str, Any] | None:
        if given is not None and not isinstance(given, Mapping):
            raise InvalidParamsError(
                f"chat_template_kwargs is a {type(given).__name__}; give a dict of the chat "
                "template's variables."
            )
        return {**(self.chat_template_kwargs or {}), **(given or {})} or None

    @property
    def _default(self) -> Whose:
        return Whose(
            preference=self.preference, profile=self.preference_profile, user_id=self.user_id
        )


def _one_limit(arguments: Mapping[str, Any]) -> None:
    if "max_tokens" in arguments and "max_new_tokens" in arguments:
        raise InvalidParamsError("max_tokens and max_new_tokens are one parameter: pass one.")


class _Resources:
    """What copies of a wrapper share: the loaded engines and the open stores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[str, Engine] = {}
        self._stores: dict[str, ProfileStore] = {}
        self._checked: set[str] = set()

    def __reduce__(self) -> tuple[type[_Resources], tuple[()]]:
        # Another process loads and opens its own.
        return _Resources, ()

    def check(self, source: ModelSource) -> None:
        """`check_source`, once for each source that is good."""
        if source.key not in self._checked:
            check_source(source)
            self._checked.add(source.key)

    def engine(self, source: ModelSource) -> Engine:
        with self._lock:
            # Kept here, because `shared_engine` frees what nobody holds.
            self._engines[source.key] = shared_engine(source)
            return self._engines[source.key]

    def store(self, store_or_url: ProfileStore | str | Path | None) -> ProfileStore | None:
        if store_or_url is None:
            return None
        if not isinstance(store_or_url, str | Path):
            return open_profile_store(store_or_url)
        with self._lock:
            if (place := str(store_or_url)) not in self._stores:
                self._stores[place] = open_profile_store(store_or_url)
            return self._stores[place]
