"""The bounds of the figures. A bound that is not met is reported, and fails nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.components import bounded_policy
from benchmarks.llama_cpp import gguf_users
from benchmarks.speed import explained, hostile, one_user, users


@dataclass(frozen=True)
class Bound:
    """A bound that a figure has to keep.

    Attributes:
        sign: "at least", "at most" or "under" as ">=", "<=" or "<".
        limit: The number that it is compared with.
    """

    sign: str
    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a figure keeps the bound."""
        compare: dict[str, Callable[[float, float], bool]] = {
            ">=": float.__ge__,
            "<=": float.__le__,
            "<": float.__lt__,
        }
        return compare[self.sign](float(value), float(self.limit))

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


_EIGHT_USERS = (users.AMULET, *users.THROUGH_WRAPPERS)

BOUNDS: Mapping[str, Mapping[str, Bound]] = {
    "one user": {
        f"{one_user.AMULET} / generate": Bound(">=", 1.05),
        f"{one_user.AMULET} / generate(guidance_scale)": Bound(">=", 2),
    },
    "published algorithm": {"Amulet / published algorithm": Bound(">=", 20)},
    "streams": {
        "ChatAmulet.stream, % more time than engine.generate": Bound("<", 5),
        "ChatAmulet.stream, % more time than ChatAmulet.invoke": Bound("<", 5),
        "AmuletLLM.stream_chat, % more time than engine.generate": Bound("<", 5),
        "AmuletLLM.stream_chat, % more time than AmuletLLM.chat": Bound("<", 5),
    },
    "users, bfloat16": {
        **{f"{name} / {users.ONE_PROMPT}": Bound(">=", 4.5) for name in _EIGHT_USERS},
        **{f"{name} / {users.PEER}": Bound(">=", 5) for name in _EIGHT_USERS},
    },
    "explained": {explained.ratio(users): Bound("<", 1.1) for users in explained.COUNTS},
    "turns": {"turn 5, with reuse / without": Bound("<", 0.3)},
    "llama cpp users": {
        gguf_users.ratio(1): Bound(">=", 0.9),
        gguf_users.ratio(8): Bound(">=", 0.85),
        **{f"{name} / {gguf_users.INVOKE}": Bound(">=", 0.65) for name in gguf_users.WRAPPERS},
    },
    "llama cpp conversation": {"turn 5, with reuse / without": Bound("<=", 0.3)},
    "policy update": {
        "152064 entries, mixture % of a decode step": Bound("<", 2),
        "152064 entries, 60 iterations / mixture": Bound(">=", 100),
        bounded_policy.share(1): Bound("<", 4),
        bounded_policy.share(8): Bound("<", 8),
    },
    "grounded answers, bfloat16": {"quoting, tokens/s, drafted / one by one": Bound(">=", 1.4)},
    "grounded answers": {"free text, tokens/s, drafted / one by one": Bound(">=", 0.97)},
    "hostile": {
        hostile.over(wrapper, what): Bound("<=", 250)
        for wrapper in hostile.WRAPPERS
        for what in (hostile.MEDIAN, hostile.NEARLY_ALL)
    },
    "reading a profile": {"cached us": Bound("<=", 20)},
}
"""Beginning of a benchmark's name -> figure -> its bound."""


def bound_of(benchmark: str, figure: str) -> Bound | None:
    """The bound of a figure; None without one."""
    for beginning, bounds in BOUNDS.items():
        if benchmark.startswith(beginning) and figure in bounds:
            return bounds[figure]
    return None
