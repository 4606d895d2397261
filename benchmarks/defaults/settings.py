"""What is compared: strengths with bounds, beside the base and the pref policy."""

from __future__ import annotations

from typing import NamedTuple

from amulet_integrations import AmuletParams


class Setting(NamedTuple):
    """One way of answering.

    Attributes:
        guidance_scale: The strength p: 0 is base, 1 is pref.
        max_kl: The bound in nats a token; None for none.
        repetition_penalty: As in `SamplingParams`.
        no_repeat_ngram: Runs of so many tokens are not said twice; 0 is off.
    """

    guidance_scale: float
    max_kl: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    @property
    def name(self) -> str:
        """What tables and files call it; `Setting.read` reads it again."""
        if self.guidance_scale in (0.0, 1.0):
            parts = ["pref" if self.guidance_scale else "base"]
        else:
            parts = [f"amulet@{self.guidance_scale:g}"]
        if self.max_kl is not None:
            parts.append(f"kl={self.max_kl:g}")
        if self.repetition_penalty != 1.0:
            parts.append(f"penalty={self.repetition_penalty:g}")
        if self.no_repeat_ngram:
            parts.append(f"ngram={self.no_repeat_ngram}")
        return ",".join(parts)

    @classmethod
    def read(cls, name: str) -> Setting:
        """The setting of a name, such as "amulet@2,kl=0.2" or "pref,penalty=1.1"."""
        method, *parts = name.split(",")
        scale = {"base": 0.0, "pref": 1.0}.get(method)
        if scale is None:
            scale = float(method.removeprefix("amulet@"))
        told = dict(part.split("=") for part in parts)
        return cls(
            PAPER.guidance_scale if f"{scale:g}" == f"{PAPER.guidance_scale:g}" else scale,
            float(told["kl"]) if "kl" in told else None,
            float(told.get("penalty", 1.0)),
            int(told.get("ngram", 0)),
        )


BASE = Setting(0.0)
PREF = Setting(1.0)
PAPER = Setting(AmuletParams().guidance_scale)
"""The published method, which has no bound."""

CANDIDATES = tuple(
    Setting(scale, bound)
    for scale, bound in (
        (2.0, 0.2),
        (3.0, 0.2),
        (PAPER.guidance_scale, 0.2),
        (2.0, 0.3),
        (3.0, 0.3),
        (2.0, 0.1),
        (3.0, 0.1),
        (1.5, 0.2),
        (5.0, 0.4),
    )
)
"""Those that are screened."""


def loop_breakers(best: Setting) -> tuple[Setting, ...]:
    """What may keep a setting from saying the same again and again."""
    return (
        best._replace(repetition_penalty=1.05),
        best._replace(repetition_penalty=1.1),
        best._replace(no_repeat_ngram=3),
    )
