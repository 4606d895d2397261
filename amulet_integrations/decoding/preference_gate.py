"""The setting of a gate, which lets a preference act only where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

GateKind = Literal["similarity"]
"""What a gate goes by."""

MEASURED_THRESHOLD = 0.14
"""The threshold of "similarity" for all-MiniLM-L6-v2; docs/results.md: how it was chosen."""


class PreferenceGate(FrozenModel):
    """Leaves preferences out of an answer whose question they have nothing to do with.

    Every preference has a score for the question. One whose score is below the threshold is left
    out of this answer, as if it were not there.

    Attributes:
        kind: What the score is. "similarity": the cosine of the preference and the user's
            question by a sentence embedding.
        threshold: The least score of a preference that acts, from -1 to 1. Another sentence
            embedding than all-MiniLM-L6-v2 needs another one.

    Raises:
        InvalidParamsError: A value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    kind: GateKind = "similarity"
    threshold: float = Field(
        default=MEASURED_THRESHOLD, ge=-1.0, le=1.0, allow_inf_nan=False, strict=True
    )


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
    if isinstance(gate, Mapping) and all(isinstance(name, str) for name in gate):
        return PreferenceGate(**gate)
    if isinstance(gate, str) and gate == "default":
        return "default"
    if isinstance(gate, str) and gate in _KINDS:
        return PreferenceGate.model_validate({"kind": gate})
    raise InvalidParamsError(
        f"gate={gate!r:.80}: give {' or '.join(map(repr, _KINDS))}, a PreferenceGate with a "
        "threshold, or None for no gate."
    )


Gate = Annotated[PreferenceGate | GateKind | Literal["default"] | None, BeforeValidator(check_gate)]
"""A gate, or its kind, which becomes one; None is none, "default" leaves it to the next level."""
