"""What an evaluation is about and what comes of it: questions, preferences, methods, answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.guidance import DEFAULT_LINEAR_ALIGNMENT_RATIO
from amulet_integrations.errors import AmuletError, EvaluationError, PromptError
from amulet_integrations.prompting.messages import check_encodable
from amulet_integrations.validation import FrozenModel

MethodKind = Literal["base", "pref", "beam_search", "linear_alignment", "amulet"]
"""How an answer is decoded: the base context, the pref context, the pref context with beam search,
and the two mixtures of both."""

BOUNDABLE: tuple[MethodKind, ...] = ("linear_alignment", "amulet")
"""The kinds that a bound can hold back: the others apply no guidance past the pref policy."""


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; give it some text")
    try:
        check_encodable(text, "text")
    except PromptError as error:
        raise ValueError(str(error)) from error
    return text


_Said = Annotated[str, AfterValidator(_said)]


class _Record(FrozenModel):
    error_type: ClassVar[type[AmuletError]] = EvaluationError


class Question(_Record):
    """A question of a data set.

    Attributes:
        data_set: The data set's name.
        index: Its number there; one of each within a data set.
        text: What the user asks.
    """

    data_set: _Said
    index: int
    text: _Said


class Preference(_Record):
    """What an answer ought to be like.

    Attributes:
        name: What tables call it.
        text: What stands in the prompt.
    """

    name: _Said
    text: _Said


class Method(_Record):
    """A way to answer.

    Attributes:
        name: What tables call it.
        kind: How it decodes.
        params: Of the kind "amulet": the game that it plays, unless `guidance_scale` is given.
        guidance_scale: Of the kind "amulet": its strength as one number, instead of `params`.
        ratio: Of the kind "linear_alignment".
        num_beams: Of the kind "beam_search".
        max_kl: Of the kinds "amulet" and "linear_alignment": the bound on the divergence of every
            token's policy from the pref policy, in nats. None for none, as published.

    Raises:
        EvaluationError: A value is out of its range, or of another kind than the method.
    """

    name: _Said
    kind: MethodKind
    params: AmuletParams = AmuletParams()
    guidance_scale: float | None = Field(default=None, allow_inf_nan=False)
    ratio: float = Field(default=DEFAULT_LINEAR_ALIGNMENT_RATIO, allow_inf_nan=False)
    num_beams: int = Field(default=16, ge=1)
    max_kl: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.max_kl is not None and self.kind not in BOUNDABLE:
            raise EvaluationError(
                f"The method {self.name!r} has a bound (max_kl={self.max_kl:g}), and {self.kind} "
                f"has no guidance to hold back. Leave it out; {' and '.join(BOUNDABLE)} take one."
            )
        if self.guidance_scale is None:
            return self
        if self.kind != "amulet" or self.params != AmuletParams():
            raise EvaluationError(
                f"The method {self.name!r} has guidance_scale={self.guidance_scale:g}, which is "
                "for the kind amulet, instead of params. Give the one or the other."
            )
        return self


BOUNDED_TOKENS = "bounded_tokens"
"""The score that every answer of a bounded method brings with it; see `Answer`."""


class CaseKey(NamedTuple):
    """What tells an answer apart from every other one of a run."""

    data_set: str
    index: int  # type: ignore[assignment]  # a tuple's own method, of no use here
    preference: str
    method: str


class Answer(_Record):
    """An answer, and everything that was measured about it.

    Attributes:
        data_set: Where the question is from.
        index: The question's number there.
        question: Its text.
        preference: The preference's name.
        method: The method's name.
        text: The answer.
        token_ids: The answer's tokens, without those that end it.
        finish_reason: "stop" or "length".
        scores: What each score says, by its name; a score that does not apply is left out.
        seconds: Time to the answer; it differs from run to run.
        bounded_tokens: The share of its tokens at which a bound held the method back; None where
            the method has none.
    """

    data_set: str
    index: int
    question: str
    preference: str
    method: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    scores: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0
    bounded_tokens: float | None = None

    @property
    def key(self) -> CaseKey:
        """What tells it apart."""
        return CaseKey(self.data_set, self.index, self.preference, self.method)

    @property
    def case(self) -> tuple[str, int, str]:
        """What it shares with other methods' answers: its data set, question and preference."""
        return self.data_set, self.index, self.preference


class ScoreLine(_Record):
    """What a scorer said of an answer.

    Attributes:
        data_set: Where the question is from.
        index: The question's number there.
        preference: The preference's name.
        method: The method's name.
        scorer: Who says so.
        scores: The scores by their names.
    """

    data_set: str
    index: int
    preference: str
    method: str
    scorer: str
    scores: dict[str, float]

    @property
    def key(self) -> CaseKey:
        """The answer that it is about."""
        return CaseKey(self.data_set, self.index, self.preference, self.method)


class Outcome(_Record):
    """What a judge said of two answers to one question, both orders taken together.

    Attributes:
        data_set: Where the question is from.
        index: The question's number there.
        preference: The preference's name.
        method: The method whose outcome it is.
        against: The other method.
        result: For `method`. Orders that disagree are a tie.
        unparsable: Of the two replies, how many could not be read. A pair with one of them has no
            result.
        judge: Who says so.
    """

    data_set: str
    index: int
    preference: str
    method: str
    against: str
    result: Literal["win", "tie", "lose"] | None
    unparsable: int = 0
    judge: str = ""


def by_method(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """The answers of each method, methods in the order in which they appear."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.method, []).append(answer)
    return found
