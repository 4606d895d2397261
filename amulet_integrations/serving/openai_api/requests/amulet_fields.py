"""The object `amulet` in the body of a request: whose preferences count, and how strongly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WrapValidator

from amulet_integrations.decoding.preference_gate import MEASURED_THRESHOLD, GateKind
from amulet_integrations.decoding.strength import Method, PresetName
from amulet_integrations.personalization.call_options import NONE_HAS_MEANING
from amulet_integrations.serving.given_context import GivenContext, without_nulls

from .request_model import RequestModel, fault

PreferenceObject = dict[str, Any]

_AD_HOC = "this request"
"""The id of a profile that a request brings and that is no user's; only errors show it."""


def _check_kind(value: Any, _validate: Any) -> str | PreferenceObject | list[Any] | None:
    """Looks no deeper: the preferences are read when it is clear that they are not too many."""
    if isinstance(value, list) and all(isinstance(it, str | dict) for it in value):
        return value
    if value is None or isinstance(value, str | dict):
        return value
    raise fault(
        "invalid_type",
        'Give a text, an object such as {"text": "Be brief.", "weight": 0.5}, or a list of these.',
    )


GivenPreferences = Annotated[
    str | PreferenceObject | list[str | PreferenceObject] | None, WrapValidator(_check_kind)
]


class GateObject(RequestModel):
    """A gate with a threshold of its own.

    Attributes:
        kind: What it goes by.
        threshold: The least score of a preference that acts; from -1 to 1.
    """

    kind: GateKind = "similarity"
    threshold: float = Field(default=MEASURED_THRESHOLD, ge=-1.0, le=1.0, allow_inf_nan=False)


class AmuletFields(RequestModel):
    """What Amulet needs beside OpenAI's parameters; the OpenAI client sends it by `extra_body`.

    Attributes:
        preference: What the answer follows in place of the user's stored profile: a text, an
            object with the fields of a preference (`text`, `weight`, `when`, …), or a list of
            these. An empty list is no preference.
        guidance_scale: How strongly preferences are applied: 1 puts them into the prompt, more
            amplifies them.
        preset: The same by name.
        max_kl: The bound on what the strength may do to a token, in nats; null is no bound.
        gate: Leaves preferences out of answers that they have nothing to do with: "similarity",
            or an object with a `kind` and a `threshold`; null is no gate.
        method: How the answer is decoded.
        preference_context: What the request is about, for preferences that have a `when`.
        explain: Whether `amulet.tokens` of the answer explains each token.
    """

    preference: GivenPreferences = None
    guidance_scale: float | None = None
    preset: PresetName | None = None
    max_kl: Annotated[float, Field(ge=0.0)] | Literal["default"] | None = "default"
    gate: GateKind | GateObject | Literal["default"] | None = "default"
    method: Method | None = None
    preference_context: GivenContext | None = None
    explain: bool | None = None

    def call_arguments(self, user_id: str | None) -> dict[str, Any]:
        """The same as arguments of `AmuletClient.read_call`.

        Args:
            user_id: The user whose stored profile counts if the request brings no preference;
                None for nobody.
        """
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.model_fields_set - {"preference"}
            if getattr(self, name) is not None or name in NONE_HAS_MEANING
        }
        if isinstance(self.gate, GateObject):
            given["gate"] = self.gate.model_dump()
        if self.preference_context is not None:
            given["preference_context"] = self.preference_context
        if self.preference is not None:
            several = self.preference if isinstance(self.preference, list) else [self.preference]
            preferences = [without_nulls(it) for it in several]
            given["profile"] = {"user_id": user_id or _AD_HOC, "preferences": preferences}
        elif user_id is not None:
            given["user_id"] = user_id
        return given
