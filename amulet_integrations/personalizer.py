"""Where users, prompts and the engine meet: a user's profile becomes contexts and weights."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from amulet_integrations.decoding.params import (
    DEFAULT_MAX_GUIDANCE_SCALE,
    AmuletParams,
    check_guidance_scale,
)
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.weights import (
    DEFAULT_LINEAR_ALIGNMENT_RATIO,
    preference_weights,
)
from amulet_integrations.engine.contract import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import Increment
from amulet_integrations.errors import AmuletError, PreferenceSelectionError
from amulet_integrations.profiles import (
    Preference,
    PreferenceProfile,
    ProfileStore,
    current_scope,
    in_force,
)
from amulet_integrations.prompting import DEFAULT_SEPARATOR, ChatMessage, PromptBuilder
from amulet_integrations.validation import FrozenModel

Method = Literal["amulet", "linear_alignment", "pref", "base"]
"""How a policy is made of the contexts; see the table in the documentation's concepts."""

Source = Literal["call", "config", "scope", "constructor"]


class Whose(FrozenModel):
    """Whose preferences to follow, and how: at most one of the first three is set.

    Attributes:
        preference: A preference, or its text.
        profile: A whole profile.
        user_id: A user whose profile is in the store.
        params: Amulet's parameters, in place of the profile's or the constructor's.
        method: The method, in place of the profile's or the constructor's.
        source: Which level named it; None when nobody is named.

    Raises:
        PreferenceSelectionError: Two of the first three are set, or a value is of a wrong type.
    """

    error_type: ClassVar[type[AmuletError]] = PreferenceSelectionError

    preference: str | Preference | None = Field(default=None, repr=False)
    profile: PreferenceProfile | None = None
    user_id: str | None = None
    params: AmuletParams | None = None
    method: Method | None = None
    source: Source | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        named = self._named
        if len(named) > 1:
            raise PreferenceSelectionError(
                f"{' and '.join(named)} are given together. Name whose preferences to follow in "
                "one way: preference=, profile= or user_id=."
            )
        return self

    @property
    def names_somebody(self) -> bool:
        """Whether a preference, a profile or a user is set."""
        return bool(self._named)

    @property
    def _named(self) -> list[str]:
        names = ("preference", "profile", "user_id")
        return [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, repr=False)
class Personalization:
    """What one call is decoded with; made once, immutable, and silent about preference texts.

    Its `repr` tells answers apart that must not be confused, and so can be part of a cache key.

    Attributes:
        user_id: The user, where one was named.
        version: The version of the user's stored profile.
        preferences: The preferences in force.
        method: The method.
        params: Amulet's parameters.
        guidance_scale: The strength that method and parameters come to.
        source: Which level named the user; None when nobody was named.
    """

    user_id: str | None
    version: int | None
    preferences: tuple[Preference, ...]
    method: Method
    params: AmuletParams
    guidance_scale: float
    source: Source | None

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything that shapes the answer or is told about it."""
        facts = [
            self.describe(),
            [(preference.text, preference.weight) for preference in self.preferences],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def describe(self, *, texts: bool = False) -> dict[str, Any]:
        """Says what was applied, as plain JSON values.

        Args:
            texts: Whether the preferences' texts are told as well; they are private.
        """
        told = {"name", "weight", "text"} if texts else {"name", "weight"}
        return {
            "user_id": self.user_id,
            "profile_version": self.version,
            "source": self.source,
            "method": self.method if self.preferences else "base",
            "guidance_scale": self.guidance_scale if self.preferences else 0.0,
            "preferences": [preference.model_dump(include=told) for preference in self.preferences],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint})"


def select(
    call: Whose, config_user_id: str | None = None, *, default: Whose, searchable: bool
) -> Whose:
    """Decides whose preferences a call follows, reading no store.

    The first that names somebody wins: the call, the framework's config, the surrounding
    `preference_scope`, the constructor. To be called when the public method is, since scopes
    end.

    Args:
        call: What the call's own arguments say.
        config_user_id: The user in LangChain's ``config["configurable"]["user_id"]``.
        default: The constructor's choice, for calls that name nobody.
        searchable: Whether there is a store to look users up in.

    Raises:
        PreferenceSelectionError: An explicitly named user cannot be looked up, because there
            is no store.
    """
    chosen = _who(call, config_user_id, default)
    if chosen.user_id is not None and not searchable and chosen.source != "config":
        raise PreferenceSelectionError(
            f"user_id={chosen.user_id!r} is named ({chosen.source}), but there is no place to "
            "look the user up: pass profiles=, a store or a database URL, or name a "
            "preference= or profile= instead."
        )
    return chosen.model_copy(update={"params": call.params, "method": call.method})


def _who(call: Whose, config_user_id: str | None, default: Whose) -> Whose:
    if call.names_somebody:
        return call.model_copy(update={"source": "call"})
    if config_user_id is not None:
        return Whose(user_id=config_user_id, source="config")
    scope = current_scope()
    if scope is not None:
        return Whose(
            preference=scope.preference,
            profile=scope.profile,
            user_id=scope.user_id,
            source="scope",
        )
    if default.names_somebody:
        return default.model_copy(update={"source": "constructor"})
    return Whose()


class Personalizer:
    """Resolves whose preferences a call follows, and asks the engine for the answer.

    Args:
        engine: What decodes, or a function that loads it when it is first needed.
        profiles: Where users' profiles are; None where users are not known by id.
        default: The constructor's choice, for calls that name nobody.
        method: The method where neither the call nor the profile has one.
        params: Amulet's parameters where neither the call nor the profile has any.
        linear_alignment_ratio: The ratio rho of linear alignment.
        max_guidance_scale: The largest guidance scale accepted.
        separator: Stands between the system message and the preference.

    Raises:
        GuidanceScaleError: `params` or `linear_alignment_ratio` are past `max_guidance_scale`.
    """

    def __init__(
        self,
        engine: Engine | Callable[[], Engine],
        *,
        profiles: ProfileStore | None = None,
        default: Whose | None = None,
        method: Method = "amulet",
        params: AmuletParams | None = None,
        linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
        max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
        separator: str = DEFAULT_SEPARATOR,
    ) -> None:
        self._engine = engine
        self._profiles = profiles
        self._default = default or Whose()
        self._method = method
        self._params = params or AmuletParams()
        self._ratio = linear_alignment_ratio
        self._max_guidance_scale = max_guidance_scale
        self._separator = separator
        self._guidance_scale(method, self._params)

    @cached_property
    def engine(self) -> Engine:
        """What decodes; loaded on first use."""
        return self._engine if isinstance(self._engine, Engine) else self._engine()

    @cached_property
    def _prompts(self) -> PromptBuilder:
        return PromptBuilder(self.engine.tokenizer, separator=self._separator)

    def select(self, call: Whose, config_user_id: str | None = None) -> Whose:
        """`select` with this personalizer's default and store."""
        return select(
            call, config_user_id, default=self._default, searchable=self._profiles is not None
        )

    def resolve(self, chosen: Whose) -> Personalization:
        """Looks the chosen user up and settles everything; may block on the store.

        Raises:
            GuidanceScaleError: The strength asked for is past `max_guidance_scale`.
            ProfileError: The store fails, or what it holds is not a profile.
        """
        profile = self._look_up(chosen)
        method = chosen.method or (profile and profile.method) or self._method
        params = chosen.params or (profile and profile.params) or self._params
        preferences: tuple[Preference, ...] = ()
        if method != "base":
            preferences = in_force(_preferences(chosen, profile), datetime.now(UTC))
        return Personalization(
            user_id=profile.user_id if profile else chosen.user_id,
            version=profile.version if profile else None,
            preferences=preferences,
            method=method,
            params=params,
            guidance_scale=self._guidance_scale(method, params) if preferences else 0.0,
            source=chosen.source,
        )

    def request(
        self,
        messages: Sequence[ChatMessage] | str,
        personalization: Personalization,
        sampling: SamplingParams,
        timeout: float | None = None,
    ) -> GenerationRequest:
        """Writes the contexts of a conversation and weighs them.

        Args:
            messages: The conversation; a string is a prompt that the caller has written whole.
            personalization: From `resolve`.
            sampling: How to pick tokens. Stop strings that the prompt's format needs are added.
            timeout: Seconds after which the request fails.

        Raises:
            PromptError: The conversation cannot be written as a prompt for this model.
        """
        texts, own_weights = _contexts_of(personalization.preferences)
        if isinstance(messages, str):
            contexts = self._prompts.formatted_contexts(messages, [None, *texts])
        else:
            contexts = self._prompts.contexts(messages, [None, *texts])
            if self._prompts.stop:
                sampling = sampling.model_copy(update={"stop": sampling.stop + self._prompts.stop})
        return GenerationRequest(
            contexts=contexts,
            weights=preference_weights(personalization.guidance_scale, own_weights),
            sampling=sampling,
            timeout=timeout,
        )

    def stream(self, *request: Any, **options: Any) -> Generator[Increment, None, None]:
        """Streams the answer to what `request` takes; closing the iterator cancels it."""
        stream = self.engine.stream(self.request(*request, **options))
        try:
            yield from stream
        finally:
            stream.close()

    async def astream(self, *request: Any, **options: Any) -> AsyncGenerator[Increment, None]:
        """`stream` for asyncio: prompts are written on a thread, the loop is never blocked."""
        made = await asyncio.to_thread(self.request, *request, **options)
        stream = self.engine.astream(made)
        try:
            async for increment in stream:
                yield increment
        finally:
            await stream.aclose()

    def _look_up(self, chosen: Whose) -> PreferenceProfile | None:
        if chosen.user_id is None or self._profiles is None:
            return chosen.profile
        return self._profiles.get(chosen.user_id)

    def _guidance_scale(self, method: Method, params: AmuletParams) -> float:
        if method == "amulet":
            scale, origin = params.guidance_scale, repr(params)
        elif method == "linear_alignment":
            scale, origin = 1.0 + self._ratio, f"linear_alignment_ratio={self._ratio:g}"
        else:
            return 0.0 if method == "base" else 1.0
        return check_guidance_scale(scale, self._max_guidance_scale, origin)


def _preferences(chosen: Whose, profile: PreferenceProfile | None) -> tuple[Preference, ...]:
    if profile is not None:
        return profile.preferences
    if isinstance(chosen.preference, str):
        return (Preference(text=chosen.preference),)
    return () if chosen.preference is None else (chosen.preference,)


def _contexts_of(preferences: Sequence[Preference]) -> tuple[list[str], list[float]]:
    """Texts and weights of the preference contexts.

    Preferences that all have full weight share one context, as in the paper; that is cheaper and
    stronger than a context for each.
    """
    texts = [preference.text for preference in preferences]
    weights = [preference.weight for preference in preferences]
    if texts and all(weight == 1.0 for weight in weights):
        return ["\n".join(texts)], [1.0]
    return texts, weights
