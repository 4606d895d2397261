"""The questions, and the preferences under which they are answered."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

from amulet_integrations.evaluation.data.named_preferences import (
    KNOWN_PREFERENCES,
    PAPER_PREFERENCES,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = ("helpsteer", "personal_preference_eval", "truthful_qa", "ultrachat")
OF_EACH_SET = 25
SCREENED_OF_EACH_SET = 10
_SEED = "defaults"

EVERYDAY_PREFERENCES = {
    "short": "Answer in one short sentence.",
    "pirate": "Answer like a friendly pirate.",
    "child": "Use words that a child of six understands.",
    "formal": "Be formal and polite.",
    "list": "Answer with a numbered list.",
}
PREFERENCES = {
    **{name: KNOWN_PREFERENCES[name] for name in PAPER_PREFERENCES},
    **EVERYDAY_PREFERENCES,
}
"""The text of each by its name."""

ABOUT_FORM = ("short", "child", "formal", "list", "concise")
"""Those under which an answer has no reason to leave its question."""

UNRELATED_PREFERENCES = {
    "brief": "Be brief.",
    "cats": "I love cats and often talk about them.",
    "vegan": "I am vegan.",
    "nurse": "I work as a nurse.",
    "time": "You may take your time.",
    "pirate": "Answer like a friendly pirate.",
}
"""The preferences under which facts are asked for."""


class Question(NamedTuple):
    """One question.

    Attributes:
        key: Its name, unlike any other's.
        set_: What it belongs to: a data set, or "facts".
        text: The user's message.
    """

    key: str
    set_: str
    text: str


def questions(of_each_set: int = OF_EACH_SET) -> list[Question]:
    """The first questions of every set's draw, in turn: any beginning of the list is balanced."""
    drawn = [_drawn(name)[:of_each_set] for name in SETS]
    return [question for row in zip(*drawn, strict=True) for question in row]


def _drawn(name: str) -> list[Question]:
    rows = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    picked = random.Random(f"{_SEED} {name}").sample(rows, OF_EACH_SET)  # noqa: S311
    return [Question(f"{name}/{row['index']}", name, row["question"].strip()) for row in picked]
