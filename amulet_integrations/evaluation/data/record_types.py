"""The records of an evaluation: questions, preferences, methods, answers, scores and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, Field, StrictInt, model_validator

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.guidance import DEFAULT_LINEAR_ALIGNMENT_RATIO
from amulet_integrations.errors import AmuletError, EvaluationError, PromptError
from amulet_integrations.prompting.messages import check_encodable
from amulet_integrations.validation import FrozenModel

MethodKind = Literal["base", "pref", "beam_search", "linear_alignment", "amulet"]
"""How an answer is decoded: from the base context, from the pref context, by beam search on the
pref context, or by one of the two mixtures of both contexts."""

BOUNDABLE: tuple[MethodKind, ...] = ("linear_alignment", "amulet")
"""The kinds that accept a bound. The others apply no guidance beyond the pref policy."""

BOUNDED_TOKENS = "bounded_tokens"
"""The score that every answer of a method with a bound has; see `Answer`."""

Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; give it some text")
    try:
        check_encodable(text, "text")
    except PromptError as error:
        raise ValueError(str(error)) from error
    return text


_Text = Annotated[str, AfterValidator(_check_text)]


class EvaluationModel(FrozenModel):
    """A value object whose errors are `EvaluationError`s."""

    error_type: ClassVar[type[AmuletError]] = EvaluationError


class Question(EvaluationModel):
    """A question of a data set.

    Attributes:
        data_set: The name of the data set.
        index: The number of the question, unique within its data set.
        text: What the user asks.
    """

    data_set: _Text
    index: StrictInt
    text: _Text


class Preference(EvaluationModel):
    """What an answer should be like.

    Attributes:
        name: The name in tables.
        text: The text in the prompt.
    """

    name: _Text
    text: _Text


class Method(EvaluationModel):
    """A way to decode an answer.

    Attributes:
        name: The name in tables.
        kind: How the method decodes.
        params: For the kind "amulet": the parameters of its game. Unused if `guidance_scale` is
            given.
        guidance_scale: For the kind "amulet": the strength as one number, in place of `params`.
        ratio: For the kind "linear_alignment": how far it extrapolates.
        num_beams: For the kind "beam_search".
        max_kl: For the kinds "amulet" and "linear_alignment": the bound on the divergence of
            every token's policy from the pref policy, in nats. None means no bound, as published.

    Raises:
        EvaluationError: A value is out of range, or belongs to another kind of method.
    """

    name: _Text
    kind: MethodKind
    params: AmuletParams = AmuletParams()
    guidance_scale: float | None = Field(default=None, allow_inf_nan=False)
    ratio: float = Field(default=DEFAULT_LINEAR_ALIGNMENT_RATIO, allow_inf_nan=False)
    num_beams: int = Field(default=16, ge=1)
    max_kl: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.max_kl is not None and self.kind not in BOUNDABLE:
            raise EvaluationError(
                f"The method {self.name!r} has a bound (max_kl={self.max_kl:g}), and {self.kind} "
                f"has no guidance to hold back. Leave it out; {' and '.join(BOUNDABLE)} take one."
            )
        own_params = self.kind == "amulet" and self.params == AmuletParams()
        if self.guidance_scale is not None and not own_params:
            raise EvaluationError(
                f"The method {self.name!r} has guidance_scale={self.guidance_scale:g}, which is "
                "for the kind amulet, instead of params. Give the one or the other."
            )
        return self


class AnswerKey(NamedTuple):
    """Identifies an answer within a run."""

    data_set: str
    index: int  # type: ignore[assignment]  # hides a tuple's own method, which nothing needs
    preference: str
    method: str


class _AnswerRecord(EvaluationModel):
    data_set: str
    index: int
    preference: str
    method: str

    @property
    def key(self) -> AnswerKey:
        """Identifies the answer within its run."""
        return AnswerKey(self.data_set, self.index, self.preference, self.method)


class Answer(_AnswerRecord):
    """An answer, and everything that was measured about it.

    Attributes:
        data_set: The data set of the question.
        index: The number of the question in its data set.
        preference: The name of the preference.
        method: The name of the method.
        question: The text of the question.
        text: The text of the answer.
        token_ids: The tokens of the answer, without those that end it.
        finish_reason: "stop" or "length".
        scores: The scores by their names. A score that does not apply is left out.
        seconds: How long the answer took. It differs from run to run.
        bounded_tokens: The share of tokens at which the bound held guidance back. None if the
            method has no bound.
    """

    question: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    scores: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0
    bounded_tokens: float | None = None

    @property
    def prompt_key(self) -> tuple[str, int, str]:
        """Data set, question and preference, which answers of other methods share."""
        return self.data_set, self.index, self.preference


class ScoreLine(_AnswerRecord):
    """The scores that one scorer gave to one answer.

    Attributes:
        data_set: The data set of the question.
        index: The number of the question in its data set.
        preference: The name of the preference.
        method: The name of the method.
        scorer: The name of the scorer.
        scores: The scores by their names.
    """

    scorer: str
    scores: dict[str, float]


class Outcome(_AnswerRecord):
    """A judge's verdict on two answers to one question, with both orders taken together.

    Attributes:
        data_set: The data set of the question.
        index: The number of the question in its data set.
        preference: The name of the preference.
        method: The method that wins, ties or loses.
        against: The other method.
        result: The result for `method`. Orders that disagree make a tie. None if a reply could
            not be read.
        unparsable: How many of the two replies could not be read.
        judge: The name of the judge.
    """

    against: str
    result: Literal["win", "tie", "lose"] | None
    unparsable: int = 0
    judge: str = ""

    @property
    def pair_key(self) -> tuple[AnswerKey, str]:
        """Identifies the pair of answers within a run."""
        return self.key, self.against


class Progress(NamedTuple):
    """How far one stage of a run has come.

    Attributes:
        stage: "answers", the name of a scorer, or "judge" and the name of a judge.
        done: How many answers were given or measured, or how many pairs were judged.
        total: How many there are.
        share: The share of the stage's work that is done, from 0 to 1. It differs from
            `done / total`, since some methods need more work for an answer than others.
    """

    stage: str
    done: int
    total: int
    share: float


ProgressCallback = Callable[[Progress], None]


def by_method(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Groups answers by method. The methods are in the order of their first answers."""
    return group_by(answers, lambda answer: answer.method)


def group_by(items: Iterable[Item], key: Callable[[Item], Name]) -> dict[Name, list[Item]]:
    """Groups items by a key. The keys are in the order in which they first appear."""
    groups: dict[Name, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def describe_answer(answer: Answer) -> str:
    """Returns the words by which an error message names an answer."""
    return (
        f"the answer by {answer.method!r} to question {answer.index} of {answer.data_set!r}, "
        f"preference {answer.preference!r}"
    )


def find_duplicate(names: Iterable[Name]) -> Name | None:
    """Returns the first name that occurs more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def shorten(text: str, longest: int) -> str:
    """Puts a text on one line of at most `longest` characters. "…" replaces what is cut off."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
