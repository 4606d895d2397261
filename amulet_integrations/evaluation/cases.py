"""What a run has to answer: every question under every preference by every method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.engine.contract import Engine
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.methods import context_weights
from amulet_integrations.evaluation.records import CaseKey, Method, Preference, Question
from amulet_integrations.evaluation.set_ups import SetUp
from amulet_integrations.prompting import ChatMessage

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


def make_cases(
    engine: Engine,
    set_up: SetUp,
    questions: Sequence[Question],
    preferences: Sequence[Preference],
    methods: Sequence[Method],
) -> list[Case]:
    """Writes all prompts of a run.

    Args:
        engine: What answers.
        set_up: How questions are put to it.
        questions: The questions.
        preferences: The preferences.
        methods: The methods.

    Returns:
        The cases, questions first and methods last.

    Raises:
        EvaluationError: A question cannot be put to the model, or is too long for it.
    """
    prompts = set_up.prompts(engine.tokenizer)
    cases: list[Case] = []
    for question in questions:
        here = f"Question {question.index} of {question.data_set!r}"
        try:
            base, *prefs = prompts.contexts(
                [ChatMessage(role="user", content=question.text)],
                [None, *(preference.text for preference in preferences)],
            )
        except AmuletError as error:
            raise EvaluationError(f"{here} cannot be put to the model: {error}") from error
        longest = max(map(len, [base, *prefs]))
        if longest >= engine.context_window:
            raise EvaluationError(
                f"{here} makes a prompt of {longest} tokens, which leaves no room in the context "
                f"window of {engine.context_window} tokens of {engine.model_name!r}. Leave the "
                "question out."
            )
        pairs = [(tuple(base), tuple(pref)) for pref in prefs]
        cases += [
            Case(question, preference, method, contexts)
            for preference, contexts in zip(preferences, pairs, strict=True)
            for method in methods
        ]
    return cases
