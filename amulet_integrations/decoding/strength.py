"""How strongly preferences are applied: a guidance scale, a bound and a gate, by method."""

from __future__ import annotations

from collections.abc import Iterator
from sys import float_info
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, model_validator

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

from .guidance import DEFAULT_LINEAR_ALIGNMENT_RATIO, AmuletParams, check_max_kl, is_real_number
from .preference_gate import DEFAULT_GATE, Gate, PreferenceGate


def _check_guidance_scale(value: Any) -> Any:
    if value is None or (is_real_number(value) and abs(value) <= float_info.max):
        return value
    raise InvalidParamsError(
        f"guidance_scale={value!r}: give a finite number, such as 2. 0 is the model without the "
        "preference, 1 with it in the prompt, and more amplifies it."
    )


def _check_max_kl(value: Any) -> Any:
    return value if isinstance(value, str) and value == "default" else check_max_kl(value)


Method = Literal["amulet", "linear_alignment", "pref", "base"]
"""How the contexts are mixed: which guidance scale `preference_weights` is called with."""

PresetName = Literal["gentle", "default", "strong", "paper"]

GuidanceScale = Annotated[float | None, BeforeValidator(_check_guidance_scale)]
"""p: 0 is the base policy, 1 the pref policy, and above 1 the preference is amplified."""

MaxKL = Annotated[float | Literal["default"] | None, BeforeValidator(_check_max_kl)]
"""A bound in nats; None is no bound, and "default" is the bound of the preset that applies."""


class Preset(NamedTuple):
    """A strength with its bound.

    Attributes:
        guidance_scale: The strength p.
        max_kl: The bound on the divergence from the pref policy, in nats a token; None for none.
    """

    guidance_scale: float
    max_kl: float | None


PRESETS: dict[PresetName, Preset] = {
    "gentle": Preset(1.25, 0.1),
    "default": Preset(2.0, 0.1),
    "strong": Preset(3.0, 0.3),
    "paper": Preset(AmuletParams().guidance_scale, None),
}
"""The strengths by name; "paper" is the published method. docs/results.md: how they were chosen."""

SCALES = ("guidance_scale", "params", "preset")
"""The three fields of which one gives the guidance scale."""


class Strength(FrozenModel):
    """What one level (a call, a scope, a profile, a constructor) sets of the strength.

    At most one of `guidance_scale`, `params` and `preset` is set.

    Attributes:
        guidance_scale: The strength p itself, as in classifier-free guidance.
        params: The parameters of Amulet's game, which ends at a guidance scale.
        preset: A strength by name: "gentle", "default", "strong" or "paper". It brings a bound
            too, unless `max_kl` is set.
        max_kl: The bound on the divergence of every token's policy from the pref policy, in nats.
            None is no bound; "default" leaves it to the preset, or to the next level.
        gate: Leaves preferences out of answers that they have nothing to do with. None is no gate;
            "default" leaves it to the next level.

    Raises:
        InvalidParamsError: Two of the first three are given, or a value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    gate: Gate = "default"

    @classmethod
    def of(cls, level: Any) -> Self:
        """The strength that an object sets which has these five attributes.

        Raises:
            InvalidParamsError: See the class.
        """
        return cls(**{name: getattr(level, name) for name in cls.model_fields})

    @model_validator(mode="after")
    def _has_one_scale(self) -> Self:
        given = [name for name in SCALES if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidParamsError(
                f"{' and '.join(given)} are given together. Say the strength in one way: "
                "guidance_scale=, params= or preset= (None takes back one that was bound)."
            )
        return self

    @property
    def has_scale(self) -> bool:
        """Whether a guidance scale is set, in one of the three ways."""
        return any(getattr(self, name) is not None for name in SCALES)

    @property
    def bound(self) -> float | Literal["default"] | None:
        """The bound, a preset's own included; "default" where none is set."""
        if self.max_kl == "default" and self.preset is not None:
            return PRESETS[self.preset].max_kl
        return self.max_kl

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        fields = type(self).model_fields
        yield from ((name, value) for name, value in self if value != fields[name].default)

    def over(self, other: Strength) -> Strength:
        """The scale, bound and gate of this level; where it sets none, those of the other level."""
        source = self if self.has_scale else other
        scale = {name: getattr(source, name) for name in SCALES}
        bound = other.bound if self.bound == "default" else self.bound
        gate = other.gate if self.gate == "default" else self.gate
        return Strength(**scale, max_kl=bound, gate=gate)

    @property
    def settled_gate(self) -> PreferenceGate | None:
        """The gate; the default where none is set."""
        if self.gate == "default":
            return DEFAULT_GATE
        return self.gate if isinstance(self.gate, PreferenceGate) else None

    def settled(self, default: Preset = PRESETS["default"]) -> Preset:
        """The scale and the bound as numbers; the default's where they are not set.

        The default's bound applies only to strengths outside of 0 to 1: between base and pref
        there is nothing that neither of them would write.

        Raises:
            GuidanceScaleError: The scale of `params` is too large for a float.
        """
        scale = default.guidance_scale
        if self.guidance_scale is not None:
            scale = self.guidance_scale
        elif self.params is not None:
            scale = self.params.guidance_scale
        elif self.preset is not None:
            scale = PRESETS[self.preset].guidance_scale
        bound = self.bound
        if bound == "default":
            bound = None if 0.0 <= scale <= 1.0 else default.max_kl
        return Preset(scale, bound)


def method_strength(
    method: Method,
    strength: Strength,
    default: Preset = PRESETS["default"],
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> Preset:
    """The guidance scale and the bound of a method.

    Args:
        method: "base" ignores preferences (scale 0); "pref" only puts them into the prompt (1);
            "linear_alignment" extrapolates once (1 + rho); "amulet" plays its game (p). "base" and
            "pref" have no bound.
        strength: The strength: all of it for "amulet", only the bound for "linear_alignment".
        default: The scale and the bound where `strength` sets none.
        linear_alignment_ratio: The ratio rho, for "linear_alignment".

    Raises:
        GuidanceScaleError: The scale of the strength's `params` is too large for a float.
    """
    if method == "amulet":
        return strength.settled(default)
    if method == "linear_alignment":
        scale = 1.0 + linear_alignment_ratio
        return Strength(guidance_scale=scale, max_kl=strength.bound).settled(default)
    return Preset(1.0 if method == "pref" else 0.0, None)


def applicable_strength(method: Method | None, strength: Strength) -> Strength:
    """The part of a strength that a method uses: a method with a scale of its own takes none."""
    if method in {None, "amulet"}:
        return strength
    return Strength(max_kl=strength.max_kl, gate=strength.gate)


def method_guidance_scale(
    method: Method,
    params: AmuletParams,
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> float:
    """The guidance scale of a method; see `method_strength`.

    Args:
        method: The method.
        params: The game's parameters, for "amulet".
        linear_alignment_ratio: The ratio rho, for "linear_alignment".
    """
    strength = Strength(params=params)
    return method_strength(
        method, strength, linear_alignment_ratio=linear_alignment_ratio
    ).guidance_scale
