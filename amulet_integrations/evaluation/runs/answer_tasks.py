"""The answers that a run needs: one for every question, preference and method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.data.methods import context_weights
from amulet_integrations.evaluation.data.record_types import (
    AnswerKey,
    Method,
    Preference,
    Question,
)
from amulet_integrations.evaluation.data.set_ups import SetUp
from amulet_integrations.prompting import ChatMessage, PromptBuilder

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class AnswerTask:
    """One answer to be generated.

    Attributes:
        question: The question.
        preference: What the answer should be like.
        method: How the answer is decoded.
        contexts: The token ids of the base context and of the pref context.
    """

    question: Question
    preference: Preference
    method: Method
    contexts: tuple[TokenIds, TokenIds]

    @property
    def key(self) -> AnswerKey:
        """Identifies the answer."""
        return AnswerKey(
            self.question.data_set, self.question.index, self.preference.name, self.method.name
        )

    @property
    def rows(self) -> int:
        """The rows of the model's batch that it needs, which is about what it costs."""
        if self.method.kind == "beam_search":
            return self.method.num_beams
        return sum(weight != 0 for weight in context_weights(self.method))

    def seed(self, seed: int) -> int:
        """Returns a seed of the answer's own. It does not depend on the other tasks of the run."""
        digest = hashlib.sha256(json.dumps([seed, *self.key]).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


Prompts = dict[Question, list[TokenIds]]
"""The prompts of each question: without a preference, and then with each preference."""


def write_prompts(
    engine: Engine,
    set_up: SetUp,
    questions: Sequence[Question],
    preferences: Sequence[Preference],
    *,
    max_new_tokens: int,
    skip_too_long: bool = False,
) -> Prompts:
    """Writes all prompts of a run.

    Args:
        engine: The engine that answers.
        set_up: How questions are put to the model.
        questions: The questions.
        preferences: The preferences.
        max_new_tokens: The room that every answer must have. An answer that is cut off by the
            context window could not be compared with one that is not, nor be scored with the
            preference.
        skip_too_long: Whether questions without that room are left out.

    Returns:
        The prompts, in the order of the questions.

    Raises:
        EvaluationError: A question cannot be put to the model; or one is too long for it and may
            not be left out, or all of them are.
    """
    builder = set_up.prompts(engine.tokenizer)
    room = engine.context_window - max_new_tokens
    prompts: Prompts = {}
    too_long: dict[Question, int] = {}
    for question in questions:
        written = _write_prompts(builder, question, preferences)
        longest = max(map(len, written))
        if longest <= room:
            prompts[question] = written
        else:
            too_long[question] = longest
    if too_long and not (skip_too_long and prompts):
        question, longest = next(iter(too_long.items()))
        raise EvaluationError(
            f"{_describe(question)} makes a prompt of {longest} tokens, which leaves "
            f"no room for answers of {max_new_tokens} in the context window of "
            f"{engine.context_window} tokens of {engine.model_name!r}. Leave such questions out "
            "(--skip-too-long, skip_too_long=True), ask for shorter answers, or take a model with "
            "a larger window."
        )
    return prompts


def make_tasks(
    prompts: Prompts, preferences: Sequence[Preference], methods: Sequence[Method]
) -> list[AnswerTask]:
    """Returns the tasks of a run by question, then preference, then method."""
    return [
        AnswerTask(question, preference, method, (base, pref))
        for question, (base, *prefs) in prompts.items()
        for preference, pref in zip(preferences, prefs, strict=True)
        for method in methods
    ]


def prompts_digest(prompts: Prompts) -> str:
    """Returns a SHA-256 of the token ids of all prompts.

    It changes with the chat template and the tokenizer.
    """
    return hashlib.sha256(json.dumps([*prompts.values()]).encode()).hexdigest()


def _write_prompts(
    builder: PromptBuilder, question: Question, preferences: Sequence[Preference]
) -> list[TokenIds]:
    try:
        written = builder.contexts(
            [ChatMessage(role="user", content=question.text)],
            [None, *(preference.text for preference in preferences)],
        )
    except AmuletError as error:
        raise EvaluationError(
            f"{_describe(question)} cannot be put to the model: {error}"
        ) from error
    return [tuple(ids) for ids in written]


def _describe(question: Question) -> str:
    return f"Question {question.index} of {question.data_set!r}"
