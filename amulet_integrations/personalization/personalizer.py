"""Where users, prompts and the engine meet: a user's profile becomes contexts and weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from amulet_integrations.decoding.guidance import (
    DEFAULT_LINEAR_ALIGNMENT_RATIO,
    DEFAULT_MAX_GUIDANCE_SCALE,
    check_guidance_scale,
)
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.strength import PRESETS, Method, Preset, Strength, method_strength
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import Increment
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.personalization.applied import Personalization
from amulet_integrations.personalization.guidance_plan import Mixtures, steer
from amulet_integrations.personalization.saved_presets import find_preset, has_presets
from amulet_integrations.personalization.selection import PreferenceSelection, select
from amulet_integrations.profiles import (
    Preference,
    PreferenceProfile,
    ProfileStore,
    active_preferences,
)
from amulet_integrations.profiles.grouping import group_preferences
from amulet_integrations.profiles.stores.access import read_whole_profile, with_parents
from amulet_integrations.prompting import (
    DEFAULT_SEPARATOR,
    AnswerParser,
    ChatMessage,
    JsonOutput,
    PromptBuilder,
    ToolUse,
)


class Personalizer:
    """Resolves whose preferences a call follows, and asks the engine for the answer.

    Args:
        engine: What decodes, or a function that loads it when it is first needed.
        profiles: Where users' profiles are; None where users are not known by id.
        default: The constructor's choice, for calls that name nobody.
        method: The method where neither the call nor the profile has one.
        strength: How strongly preferences are applied, as far as neither the call nor the profile
            says so; what it does not say either is the model's saved preset, or else the default
            one.
        saved_presets: Whether a preset that was saved for the engine's model is used.
        linear_alignment_ratio: The ratio rho of linear alignment.
        max_guidance_scale: The largest guidance scale accepted.
        separator: Stands between the system message and the preference.
        prompts: Finds what writes prompts for an engine and a separator, where it is shared.

    Raises:
        GuidanceScaleError: The strength or `linear_alignment_ratio` is past `max_guidance_scale`.
    """

    def __init__(
        self,
        engine: Engine | Callable[[], Engine],
        *,
        profiles: ProfileStore | None = None,
        default: PreferenceSelection | None = None,
        method: Method = "amulet",
        strength: Strength | None = None,
        saved_presets: bool = False,
        linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
        max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
        separator: str = DEFAULT_SEPARATOR,
        prompts: Callable[[Engine, str], PromptBuilder] | None = None,
    ) -> None:
        self._engine = engine
        self._shared_prompts = prompts or _own_prompts
        self._profiles = profiles
        self._default = default or PreferenceSelection()
        self._method = method
        self._strength = strength or Strength()
        self._saved_presets = saved_presets
        self._ratio = linear_alignment_ratio
        self._max_guidance_scale = max_guidance_scale
        self._separator = separator
        self._named_strength(method, self._strength, saved=False)

    @cached_property
    def engine(self) -> Engine:
        """What decodes; loaded on first use."""
        return self._engine if isinstance(self._engine, Engine) else self._engine()

    @cached_property
    def prompts(self) -> PromptBuilder:
        """Writes the prompts of the engine's model."""
        return self._shared_prompts(self.engine, self._separator)

    def select(
        self, call: PreferenceSelection, config: PreferenceSelection | None = None
    ) -> PreferenceSelection:
        """`select` with this personalizer's default and store."""
        return select(call, config, default=self._default, searchable=self._profiles is not None)

    def resolve(self, chosen: PreferenceSelection, *, saved: bool = True) -> Personalization:
        """Looks the chosen user up and settles everything; may block on the store.

        Args:
            chosen: From `select`.
            saved: Whether a saved preset may be used, for which the model is loaded.

        Raises:
            GuidanceScaleError: The strength asked for is past `max_guidance_scale`.
            PreferenceSelectionError: A profile has a parent, and there is no store to read it in.
            ProfileError: The store fails, or what it holds is not a profile; or the profile's
                parents form a circle.
        """
        profile = self._look_up(chosen)
        method = chosen.method or (profile and profile.method) or self._method
        strength = chosen.strength
        if profile is not None:
            strength = strength.over(profile.strength)
        strength = strength.over(self._strength)
        preferences: tuple[Preference, ...] = ()
        if method != "base":
            candidates = _preferences(chosen, profile)
            preferences = active_preferences(
                candidates, datetime.now(UTC), chosen.preference_context
            )
        name, applied = None, Preset(0.0, None)
        if preferences:
            name, applied = self._named_strength(method, strength, saved=saved)
        return Personalization(
            user_id=profile.user_id if profile else chosen.user_id,
            version=profile.version if profile else None,
            preferences=preferences,
            method=method,
            guidance_scale=applied.guidance_scale,
            max_kl=applied.max_kl,
            preset=name,
            source=chosen.source,
        )

    def request(
        self,
        messages: Sequence[ChatMessage] | str,
        personalization: Personalization,
        sampling: SamplingParams,
        timeout: float | None = None,
        *,
        tool_use: ToolUse | None = None,
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        logprobs: int | None = None,
    ) -> GenerationRequest:
        """Writes the contexts of a conversation and weighs them.

        Args:
            messages: The conversation; a string is a prompt that the caller has written whole.
            personalization: From `resolve`.
            sampling: How to pick tokens. Stop strings that the prompt's format needs are added.
            timeout: Seconds after which the request fails.
            tool_use: The tools that the answer may or must call.
            json_output: The JSON that the answer, where it is no call, has to be.
            chat_template_kwargs: Further variables of the model's chat template.
            logprobs: How many of the likeliest tokens each step tells; None to tell nothing.

        Raises:
            PromptError: The conversation cannot be written as a prompt for this model.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
        """
        texts, own_weights = group_preferences(personalization.preferences)
        mixtures = Mixtures.of(personalization.guidance_scale, own_weights)
        common: dict[str, Any] = {"timeout": timeout, "logprobs": logprobs}
        if personalization.max_kl is not None and mixtures.steers:
            common |= {"max_kl": personalization.max_kl, "reference_weights": mixtures.pref}
        if isinstance(messages, str):
            contexts = self.prompts.formatted_contexts(messages, [None, *texts])
            return GenerationRequest(
                contexts=contexts, weights=mixtures.mixed, sampling=sampling, **common
            )
        told = _told(tool_use, json_output, chat_template_kwargs)
        reasoning = self.prompts.reasoning(messages, **told)
        common["skip_special_tokens"] = self.prompts.skip_special_tokens(
            calls=tool_use is not None, reasoning=reasoning
        )
        if tool_use or json_output:
            tool_format = self.prompts.tool_format
            common |= steer(mixtures, tool_format, reasoning, tool_use, json_output)
        else:
            common["weights"] = mixtures.mixed
        return GenerationRequest(
            contexts=self.prompts.contexts(messages, [None, *texts], **told),
            sampling=sampling.model_copy(update={"stop": sampling.stop + self.prompts.stop}),
            **common,
        )

    def parser(
        self,
        messages: Sequence[ChatMessage],
        *,
        tool_use: ToolUse | None = None,
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> AnswerParser:
        """What reads the answer to a request while it is being written.

        Args:
            messages: As for `request`, and so the others.
            tool_use: The tools that the answer may call.
            json_output: The JSON that the answer has to be.
            chat_template_kwargs: Further variables of the model's chat template.
        """
        told = _told(tool_use, json_output, chat_template_kwargs)
        callable_tools = tool_use if tool_use and tool_use.callable_tools else None
        return self.prompts.parser(
            callable_tools,
            self.prompts.reasoning(messages, **told),
            calls_open_answer=json_output is not None,
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

    def _look_up(self, chosen: PreferenceSelection) -> PreferenceProfile | None:
        given = chosen.profile
        if given is not None and given.parent is not None:
            if self._profiles is None:
                raise PreferenceSelectionError(
                    f"The profile of {given.user_id!r} names parent={given.parent!r}, but there is "
                    "no place to look it up: pass profiles=, a store or a database URL."
                )
            return with_parents(self._profiles, given)
        if chosen.user_id is None or self._profiles is None:
            return given
        return read_whole_profile(self._profiles, chosen.user_id)

    def _named_strength(
        self, method: Method, strength: Strength, *, saved: bool
    ) -> tuple[str | None, Preset]:
        """What a method is applied with, and the name that this has, if it has one."""
        name, preset = "default", PRESETS["default"]
        if saved and not (strength.has_scale and strength.bound != "default"):
            name, preset = self._default_preset()
        applied = method_strength(method, strength, preset, self._ratio)
        source = repr(strength) if strength.has_scale else f"the preset {name!r}"
        if method == "linear_alignment":
            source = f"linear_alignment_ratio={self._ratio:g}"
        check_guidance_scale(applied.guidance_scale, self._max_guidance_scale, source)
        if strength.preset is not None:
            name, preset = strength.preset, PRESETS[strength.preset]
        by_name = strength.guidance_scale is None and strength.params is None
        has_name = method == "amulet" and by_name and applied == preset
        return name if has_name else None, applied

    def _default_preset(self) -> tuple[str, Preset]:
        """What holds where nobody says more; the model is loaded only if anything is saved."""
        if self._saved_presets and has_presets():
            fingerprint = getattr(self.engine, "model_fingerprint", None)
            if fingerprint is not None and (saved := find_preset(fingerprint)) is not None:
                return "saved", saved.preset
        return "default", PRESETS["default"]


def _own_prompts(engine: Engine, separator: str) -> PromptBuilder:
    return PromptBuilder(engine.tokenizer, separator=separator)


def _told(
    tool_use: ToolUse | None,
    json_output: JsonOutput | None,
    chat_template_kwargs: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What prompts tell the model beside the conversation and the preference."""
    return {
        "tools": tool_use.tools if tool_use else (),
        "json_output": json_output,
        "chat_template_kwargs": chat_template_kwargs,
    }


def _preferences(
    chosen: PreferenceSelection, profile: PreferenceProfile | None
) -> tuple[Preference, ...]:
    if profile is not None:
        return profile.preferences
    return () if chosen.preference is None else (chosen.preference,)
