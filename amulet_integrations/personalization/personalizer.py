"""Looks up which preferences a call follows and how strongly, and has its request written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.decoding.guidance import (
    DEFAULT_LINEAR_ALIGNMENT_RATIO,
    DEFAULT_MAX_GUIDANCE_SCALE,
    check_guidance_scale,
)
from amulet_integrations.decoding.strength import PRESETS, Method, Preset, Strength, method_strength
from amulet_integrations.engine.encoders.sentence_encoder import (
    EMBEDDED_ENCODER,
    embedded_encoder_path,
)
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.profiles import (
    Preference,
    PreferenceProfile,
    ProfileLimits,
    ProfileStore,
    active_preferences,
)
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import read_whole_profile
from amulet_integrations.prompting import DEFAULT_SEPARATOR, PromptBuilder

from .applied_preferences import Personalization
from .gating import GateMemory, QuestionGate
from .looked_up_profile import LookedUpProfile
from .prepared_call import PreparedAnswer, PreparedCall
from .request_writer import RequestWriter
from .saved_presets import find_preset, has_presets
from .user_resolution import PreferenceSelection


def _make_prompts(engine: Engine, separator: str) -> PromptBuilder:
    return PromptBuilder(
        engine.tokenizer, separator=separator, context_window=engine.context_window
    )


@dataclass(eq=False, repr=False)
class Personalizer:
    """Looks the preferences of calls up, and renders the requests.

    Attributes:
        engine_or_loader: The engine, or a function that loads it on first use.
        profiles: The store of profiles, or a function that opens it on first use; None where users
            are not known by id.
        profile_limits: What one user may cost; by default the store's limits.
        on_unknown_user: Is called with a user who is not in the store, and the store, before the
            answer is decoded without preferences.
        method: The method of calls and profiles that have none.
        strength: The strength of calls and profiles that have none. Where it is not set either,
            the model's saved preset counts, or else the default preset.
        saved_presets: Whether a preset that was saved for the engine's model is used.
        linear_alignment_ratio: The ratio rho of linear alignment.
        max_guidance_scale: The largest guidance scale that is accepted.
        separator: Stands between the system message and the preference.
        find_prompts: Returns the prompt builder of an engine and a separator.
        gate_encoder: The sentence embedding of gates that go by similarity.
        gate_memory: What gates have found out about preferences.

    Raises:
        GuidanceScaleError: The strength or `linear_alignment_ratio` is above `max_guidance_scale`.
    """

    engine_or_loader: Engine | Callable[[], Engine]
    _: KW_ONLY
    profiles: ProfileStore | Callable[[], ProfileStore | None] | None = None
    profile_limits: ProfileLimits | None = None
    on_unknown_user: Callable[[str, ProfileStore | None], None] | None = None
    method: Method = "amulet"
    strength: Strength = field(default_factory=Strength)
    saved_presets: bool = False
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO
    max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE
    separator: str = DEFAULT_SEPARATOR
    find_prompts: Callable[[Engine, str], PromptBuilder] = _make_prompts
    gate_encoder: str = EMBEDDED_ENCODER
    gate_memory: GateMemory = field(default_factory=GateMemory)

    def __post_init__(self) -> None:
        self._named_strength(self.method, self.strength, saved=False)

    @cached_property
    def engine(self) -> Engine:
        """The engine; loaded on first use."""
        source = self.engine_or_loader
        return source if isinstance(source, Engine) else source()

    @cached_property
    def store(self) -> ProfileStore | None:
        """The store of profiles; opened on first use."""
        source = self.profiles
        return source if source is None or isinstance(source, ProfileStore) else source()

    @cached_property
    def prompts(self) -> PromptBuilder:
        """The prompt builder of the engine's model."""
        return self.find_prompts(self.engine, self.separator)

    @cached_property
    def limits(self) -> ProfileLimits:
        """What one user may cost; opens no store, as one opened on first use has the defaults."""
        return self.profile_limits or limits_of(self.profiles)

    def check_limits(self, selection: PreferenceSelection) -> None:
        """Checks what a selection contains by itself; reads no store.

        Raises:
            ProfileLimitError: It exceeds a limit, or its parent may not be one.
        """
        given = selection.profile
        if selection.preference is not None:
            self.limits.check_texts([selection.preference])
        if given is not None and not isinstance(given, LookedUpProfile):
            self.limits.check_saved(given)
        if given is not None and given.parent is not None:
            self.limits.check_parent(given.user_id, given.parent)

    def personalize(self, selection: PreferenceSelection, *, saved: bool = True) -> Personalization:
        """Looks the selected user up and settles preferences, method and strength.

        Reads the store, so it may block.

        Args:
            selection: From `resolve_user`.
            saved: Whether a saved preset may be used. The model is loaded to find it.

        Raises:
            GuidanceScaleError: The guidance scale is above `max_guidance_scale`.
            ProfileLimitError: The preferences exceed a limit, or a parent may not be one.
            PreferenceSelectionError: A profile has a parent, and there is no store to read it in.
            UnknownUserError: The user is not in the store, and `on_unknown_user` raises it.
            MissingDependencyError: A gate needs the embedded sentence embedding, which is not
                installed.
            ProfileError: The store fails, or what it holds is not a profile; or the profile's
                parents form a circle.
        """
        self.check_limits(selection)
        profile = self._look_up(selection)
        method = selection.method or (profile and profile.method) or self.method
        unknown = selection.user_id if profile is None and method != "base" else None
        if unknown is not None and self.on_unknown_user is not None:
            self.on_unknown_user(unknown, self.store)
        strength = selection.strength
        if profile is not None:
            strength = strength.over(profile.strength)
        strength = strength.over(self.strength)
        preferences: tuple[Preference, ...] = ()
        if method != "base":
            own = (selection.preference,) if selection.preference else ()
            candidates = profile.preferences if profile else own
            preferences = active_preferences(
                candidates, datetime.now(UTC), selection.preference_context
            )
            user_id = profile.user_id if profile else None
            self.limits.check_active(user_id, preferences)
        name, applied = None, Preset(0.0, None)
        if preferences:
            name, applied = self._named_strength(method, strength, saved=saved)
        gate = strength.settled_gate if preferences else None
        if gate and self.gate_encoder == EMBEDDED_ENCODER:
            embedded_encoder_path()
        return Personalization(
            user_id=profile.user_id if profile else selection.user_id,
            version=profile.version or None if profile else None,
            preferences=preferences,
            method=method,
            guidance_scale=applied.guidance_scale,
            max_kl=applied.max_kl,
            preset=name,
            source=selection.source,
            gate=gate,
            gate_encoder=self.gate_encoder if gate else None,
        )

    def build_request(self, prepared: PreparedCall) -> GenerationRequest:
        """The request of a call: its contexts as token ids, and their weights.

        Raises:
            PromptError: The conversation cannot be written as a prompt for this model.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
        """
        return self.prepare_answer(prepared).request

    def prepare_answer(self, prepared: PreparedCall) -> PreparedAnswer:
        """The request of a call, and what reads its answer; renders each context once.

        Loads the model when it is first needed, so it may block. A gate runs the model too, to
        find which preferences have to do with the question.

        Raises:
            ProfileLimitError: The preferences have too many tokens.
            PromptError: The conversation cannot be written as a prompt for this model.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
            GenerationError: The engine fails while a gate looks at the question.
        """
        writer = RequestWriter(self.engine, self.prompts, self.limits, self._question_gate)
        return writer.prepare_answer(prepared)

    @property
    def _question_gate(self) -> QuestionGate:
        return QuestionGate(self.engine, self.prompts, self.gate_memory, self.gate_encoder)

    def _look_up(self, selection: PreferenceSelection) -> PreferenceProfile | None:
        given = selection.profile
        if given is not None and given.parent is not None:
            if self.store is None:
                raise PreferenceSelectionError(
                    f"The profile of {given.user_id!r} names parent={given.parent!r}, but there is "
                    "no place to look it up: pass profiles=, a store or a database URL."
                )
            return read_whole_profile(self.store, given, self.profile_limits)
        if selection.user_id is None or self.store is None:
            return given
        return read_whole_profile(self.store, selection.user_id, self.profile_limits)

    def _named_strength(
        self, method: Method, strength: Strength, *, saved: bool
    ) -> tuple[str | None, Preset]:
        """The strength of a method, and its name where it has one."""
        name, preset = "default", PRESETS["default"]
        if saved and not (strength.has_scale and strength.bound != "default"):
            name, preset = self._default_preset()
        applied = method_strength(method, strength, preset, self.linear_alignment_ratio)
        source = str(strength) if strength.has_scale else f"the preset {name!r}"
        if method == "linear_alignment":
            source = f"linear_alignment_ratio={self.linear_alignment_ratio:g}"
        check_guidance_scale(applied.guidance_scale, self.max_guidance_scale, source)
        if strength.preset is not None:
            name, preset = strength.preset, PRESETS[strength.preset]
        by_name = strength.guidance_scale is None and strength.params is None
        has_name = method == "amulet" and by_name and applied == preset
        return name if has_name else None, applied

    def _default_preset(self) -> tuple[str, Preset]:
        """The preset for calls without a strength; loads the model only if any preset is saved."""
        if self.saved_presets and has_presets():
            fingerprint = getattr(self.engine, "model_fingerprint", None)
            if fingerprint is not None and (saved := find_preset(fingerprint)) is not None:
                return "saved", saved.preset
        return "default", PRESETS["default"]
