"""What a run has to answer: every question under every preference by every method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.data.set_ups import SetUp
from amulet_integrations.evaluation.runs.methods import context_weights
from amulet_integrations.evaluation.runs.records import CaseKey, Method, Preference, Question
from amulet_integrations.prompting import ChatMessage, PromptBuilder

Contexts = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """One answer to be given.

    Attributes:
        question: What is asked.
        preference: What the answer ought to be like.
        method: How it is decoded.
        contexts: Token ids of the base context and of the pref context.
    """

    question: Question
    preference: Preference
    method: Method
    contexts: Contexts

    @property
    def key(self) -> CaseKey:
        """What tells it apart."""
        return CaseKey(
            self.question.data_set, self.question.index, self.preference.name, self.method.name
        )

    @property
    def rows(self) -> int:
        """How many rows the model runs for it, which is about what it costs."""
        if self.method.kind == "beam_search":
            return self.method.num_beams
        return sum(weight != 0 for weight in context_weights(self.method))

    def seed(self, seed: int) -> int:
        """Its own seed: the same whatever else is run, before or beside it."""
        digest = hashlib.sha256(json.dumps([seed, *self.key]).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Asked:
    """A question as it is put to the model.

    Attributes:
        question: The question.
        base: Token ids without a preference.
        prefs: Token ids with each preference.
    """

    question: Question
    base: tuple[int, ...]
    prefs: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """How long the longest prompt is."""
        return max(map(len, (self.base, *self.prefs)))


def ask(
    engine: Engine,
    set_up: SetUp,
    questions: Sequence[Question],
    preferences: Sequence[Preference],
    *,
    max_new_tokens: int,
    skip_too_long: bool = False,
) -> list[Asked]:
    """Writes all prompts of a run.

    Args:
        engine: What answers.
        set_up: How questions are put to it.
        questions: The questions.
        preferences: The preferences.
        max_new_tokens: Room that every answer has to have: an answer that ends with the window
            would be no match for one that does not, and could not be scored with the preference.
        skip_too_long: Whether questions without that room are left out.

    Returns:
        The questions, in their order.

    Raises:
        EvaluationError: A question cannot be put to the model, or is too long for it; or all of
            them are.
    """
    prompts = set_up.prompts(engine.tokenizer)
    room = engine.context_window - max_new_tokens
    asked = [_asked(prompts, question, preferences) for question in questions]
    fitting = [each for each in asked if each.tokens <= room]
    if len(fitting) < len(asked) and not (skip_too_long and fitting):
        first = next(each for each in asked if each.tokens > room)
        raise EvaluationError(
            f"{_place(first.question)} makes a prompt of {first.tokens} tokens, which leaves no "
            f"room for answers of {max_new_tokens} in the context window of "
            f"{engine.context_window} tokens of {engine.model_name!r}. Leave such questions out "
            "(--skip-too-long, skip_too_long=True), ask for shorter answers, or take a model with "
            "a larger window."
        )
    return fitting


def make_cases(
    asked: Sequence[Asked], preferences: Sequence[Preference], methods: Sequence[Method]
) -> list[Case]:
    """Everything that is to be answered, questions first and methods last."""
    return [
        Case(each.question, preference, method, (each.base, pref))
        for each in asked
        for preference, pref in zip(preferences, each.prefs, strict=True)
        for method in methods
    ]


def _asked(prompts: PromptBuilder, question: Question, preferences: Sequence[Preference]) -> Asked:
    try:
        base, *prefs = prompts.contexts(
            [ChatMessage(role="user", content=question.text)],
            [None, *(preference.text for preference in preferences)],
        )
    except AmuletError as error:
        raise EvaluationError(f"{_place(question)} cannot be put to the model: {error}") from error
    return Asked(question, tuple(base), tuple(map(tuple, prefs)))


def _place(question: Question) -> str:
    return f"Question {question.index} of {question.data_set!r}"
