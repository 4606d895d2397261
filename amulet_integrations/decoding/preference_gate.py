"""The setting of a gate, which lets a preference act only where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

GateKind = Literal["similarity", "likelihood", "ask"]
"""What a gate goes by."""


class PreferenceGate(FrozenModel):
    """Leaves preferences out of an answer whose question they have nothing to do with.

    Every preference has a score for the question. One whose score is below the threshold is left
    out of this answer, as if it were not there.

    Attributes:
        kind: What the score is. "similarity": the cosine of the preference and the user's
            question by a sentence embedding. "likelihood": how much likelier the preference makes
            the question, by the model, in nats, beyond what it does to unrelated questions. "ask":
            the log-odds of yes where the model is asked whether the preference matters to the
            question, again beyond those for unrelated questions.
        threshold: The least score of a preference that acts. None is the one that was measured
            best for the kind (docs/relevance.md).

    Raises:
        InvalidParamsError: A value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    kind: GateKind = "similarity"
    threshold: float | None = Field(default=None, allow_inf_nan=False)

    @property
    def least_score(self) -> float:
        """The threshold that applies."""
        return MEASURED_THRESHOLDS[self.kind] if self.threshold is None else float(self.threshold)

    def describe(self) -> dict[str, Any]:
        """The kind and the threshold that applies, as plain JSON values."""
        return {"kind": self.kind, "threshold": self.least_score}


MEASURED_THRESHOLDS: dict[GateKind, float] = {"similarity": 0.186, "likelihood": 0.0, "ask": 0.0}
"""The threshold of each kind where none is given; docs/relevance.md has the figures."""

DEFAULT_GATE: PreferenceGate | None = None
"""The gate where nobody sets one: none."""

_KINDS = get_args(GateKind)


def check_gate(gate: Any) -> PreferenceGate | Literal["default"] | None:
    """Reads the setting of a gate.

    Args:
        gate: A `PreferenceGate`, its fields, the name of a kind, None for no gate, or "default".

    Raises:
        InvalidParamsError: It is none of these, or a field of it is not valid.
    """
    if gate is None or isinstance(gate, PreferenceGate):
        return gate
    if isinstance(gate, Mapping):
        return PreferenceGate(**gate)
    if isinstance(gate, str) and gate == "default":
        return "default"
    if isinstance(gate, str) and gate in _KINDS:
        return PreferenceGate.model_validate({"kind": gate})
    raise InvalidParamsError(
        f"gate={gate!r:.80}: give {', '.join(map(repr, _KINDS))}, a PreferenceGate of one of "
        "these with a threshold, or None for no gate."
    )


Gate = Annotated[PreferenceGate | GateKind | Literal["default"] | None, BeforeValidator(check_gate)]
"""A gate, or its kind, which becomes one; None is none, "default" leaves it to the next level."""
