"""Guidance: Amulet's game as one number, and the weights of the contexts that follow from it.

Every method is one row of weights that add up to 1, the base context first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from sys import float_info
from typing import Any, ClassVar, Self

from pydantic import Field

from amulet_integrations.errors import AmuletError, GuidanceScaleError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

DEFAULT_MAX_GUIDANCE_SCALE = 20.0
"""Past about this strength models stop writing sentences; operators may set another bound."""

LARGEST_GUIDANCE_SCALE = 1e6
"""The largest bound that an operator may set: far past it, float32 holds no weighted logits."""

DEFAULT_LINEAR_ALIGNMENT_RATIO = 2.0
"""The ratio rho of linear alignment that the published code uses."""


class AmuletParams(FrozenModel):
    """Parameters of Amulet's online game (Zhang et al., ICLR 2025, arXiv 2502.19148).

    The defaults are those of the published code. Instances are frozen and hashable.

    Attributes:
        alpha: Weight of the utility ``u_t = alpha * (log pi_t - log pi_base)``. 0 gives the pref
            policy itself; negative values weaken the preference (a scale below 1).
        lambda_: Weight of the pull towards the pref policy, at least 0.
        eta: Learning rate of FTRL, above 0.
        iterations: Number of updates, from 0 to 10,000. The published code does this many; the
            paper's Algorithm 1 counts one fewer.

    Raises:
        InvalidParamsError: A value is out of its range, NaN or infinite.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    alpha: float = Field(default=2.0, allow_inf_nan=False)
    lambda_: float = Field(default=2.0, ge=0.0, allow_inf_nan=False)
    eta: float = Field(default=10.0, gt=0.0, allow_inf_nan=False)
    iterations: int = Field(default=60, ge=0, le=10_000)

    @property
    def guidance_scale(self) -> float:
        """The scale p at which the game ends.

        The policy is then softmax(p log pi_1 + (1 - p) log pi_base).

        Every iterate of the closed-form update is log-linear in the two contexts, so the update
        acts on one number, with p_1 = 1 and

            p_{t+1} = (eta*alpha*sum_{i<=t} p_i + lambda*eta*t + p_t) / (t*lambda*eta + 1).

        It is `guidance_scale` as in classifier-free guidance. With the defaults: 1.95 after 1
        update, 2.46 after 2, 3.90 after 10, 5.65 after 60.

        Raises:
            GuidanceScaleError: The scale is too large for a float.
        """
        scale = _end_of_game(self.alpha, self.lambda_, self.eta, self.iterations)
        if not math.isfinite(scale):
            raise GuidanceScaleError(
                f"{self!r} gives a guidance scale that no float holds. "
                "Use fewer iterations, a smaller alpha or a larger lambda_."
            )
        return scale

    @classmethod
    def from_guidance_scale(cls, scale: float) -> Self:
        """Finds parameters whose game ends at a given scale, solving for alpha.

        Args:
            scale: The guidance scale p. 1 is the pref policy itself.

        Returns:
            Parameters with the default lambda_, eta and iterations where `scale` is at least 1.
            Below 1, where a long game overshoots, the game is of one update.

        Raises:
            InvalidParamsError: `scale` is not a finite number.
        """
        if not math.isfinite(scale):
            raise InvalidParamsError(f"scale={scale!r}: a guidance scale is a finite number.")
        if scale < 1.0:
            game = cls(iterations=1)
            return cls(
                alpha=(scale - 1.0) * (game.lambda_ * game.eta + 1.0) / game.eta, iterations=1
            )
        low, high = 0.0, 1.0
        while cls(alpha=high).guidance_scale < scale:
            low, high = high, 2.0 * high
        # 100 halvings leave no float between low and high.
        for _ in range(100):
            middle = 0.5 * (low + high)
            if cls(alpha=middle).guidance_scale < scale:
                low = middle
            else:
                high = middle
        return cls(alpha=high)


@lru_cache(maxsize=1024)
def _end_of_game(alpha: float, lambda_: float, eta: float, iterations: int) -> float:
    scale = total = 1.0
    for step in range(1, iterations + 1):
        pull = lambda_ * eta * step
        scale = (eta * alpha * total + pull + scale) / (pull + 1.0)
        total += scale
    return scale


def check_guidance_scale(
    scale: float, maximum: float = DEFAULT_MAX_GUIDANCE_SCALE, source: str = ""
) -> float:
    """Refuses a scale past the operator's bound, in either direction.

    Args:
        scale: The guidance scale asked for.
        maximum: The largest magnitude allowed, at most `LARGEST_GUIDANCE_SCALE`.
        source: What gave the scale, for the message.

    Returns:
        `scale`, unchanged.

    Raises:
        GuidanceScaleError: ``abs(scale) > maximum``, or `scale` is NaN.
    """
    maximum = min(maximum, LARGEST_GUIDANCE_SCALE)
    if abs(scale) <= maximum:
        return scale
    origin = f" (from {source})" if source else ""
    raise GuidanceScaleError(
        f"The guidance scale p = {scale:,.6g}{origin} is past max_guidance_scale = {maximum:g}. "
        "Use a smaller guidance_scale or ratio, fewer iterations or a smaller alpha; or, if you "
        "run this service and mean it, raise max_guidance_scale.",
        param="guidance_scale",
    )


def check_max_kl(
    max_kl: Any,
    name: str = "max_kl",
    error_type: type[AmuletError] = InvalidParamsError,
) -> float | None:
    """Checks a bound on the divergence of a policy from the pref policy.

    Args:
        max_kl: The bound in nats; None for no bound.
        name: Its name in the message.
        error_type: The class of the error.

    Returns:
        The bound.

    Raises:
        AmuletError: `error_type`; the bound is not a finite number of at least 0.
    """
    if max_kl is None:
        return None
    if is_real_number(max_kl) and 0.0 <= max_kl <= float_info.max:
        return float(max_kl)
    raise error_type(
        f"{name}={max_kl!r}: give a bound in nats, 0 or more, such as 0.2, or None for no bound."
    )


def is_real_number(value: Any) -> bool:
    """Whether a value is a number; a bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def amulet_weights(params: AmuletParams) -> tuple[float, float]:
    """Weights of (base, pref) under Amulet: (1 - p, p), with p the end of the game."""
    scale = params.guidance_scale
    return 1.0 - scale, scale


def linear_alignment_weights(
    ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> tuple[float, float]:
    """Weights of (base, pref) under linear alignment (Gao et al., ICML 2024): (-rho, 1 + rho).

    Raises:
        InvalidParamsError: `ratio` is not a finite number.
    """
    if not math.isfinite(ratio):
        raise InvalidParamsError(f"ratio={ratio!r}: the ratio of linear alignment is finite.")
    return -ratio, 1.0 + ratio


def preference_weights(scale: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Weights of (base, pref_1, ..., pref_K) for several preferences under one guidance scale.

    Each w_k is divided by max(1, sum |w|), so that several preferences share the strength that
    one alone would have; a negative w_k steers away. One preference of weight 1 gives
    (1 - scale, scale).

    Args:
        scale: The guidance scale: 0 for base, 1 for pref, 1 + rho for linear alignment, p for
            Amulet.
        weights: Each preference's own weight, in [-1, 1].

    Returns:
        One weight for each context, the base context first; they add up to 1.

    Raises:
        InvalidParamsError: A weight is outside [-1, 1] or NaN, or `scale` is not finite.
    """
    if not math.isfinite(scale):
        raise InvalidParamsError(f"scale={scale!r}: a guidance scale is a finite number.")
    for weight in weights:
        if not -1.0 <= weight <= 1.0:
            raise InvalidParamsError(f"weight={weight!r}: a preference's weight is in [-1, 1].")
    share = scale / max(1.0, math.fsum(abs(weight) for weight in weights))
    steering = [share * weight for weight in weights]
    return (1.0 - math.fsum(steering), *steering)


@dataclass(frozen=True)
class ContextWeights:
    """The mixtures of the contexts, base first, that write the parts of an answer.

    Attributes:
        base: The base context alone.
        pref: The preferences in the prompt and nothing more: guidance scale 1.
        guided: The mixture at the guidance scale of the call.
    """

    base: tuple[float, ...]
    pref: tuple[float, ...]
    guided: tuple[float, ...]

    @classmethod
    def at_scale(cls, guidance_scale: float, weights: Sequence[float]) -> ContextWeights:
        """The mixtures for preference contexts of these weights."""
        return cls(
            base=preference_weights(0.0, weights),
            pref=preference_weights(1.0, weights),
            guided=preference_weights(guidance_scale, weights),
        )

    @property
    def has_preferences(self) -> bool:
        """Whether there is a context beside the base context."""
        return len(self.base) > 1
