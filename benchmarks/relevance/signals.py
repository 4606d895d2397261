"""What gates see of questions and preferences before anything is answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.personalization.preference_style import style_log_odds
from amulet_integrations.prompting import PromptBuilder
from benchmarks.defaults.settings import PREF
from benchmarks.defaults.study import RecordedAnswer
from benchmarks.relevance.preferences import PREFERENCES
from benchmarks.relevance.question_scores import UNRELATED_QUESTIONS, QuestionScorer

SIGNALS = "signals.jsonl"
_REPORT_EVERY = 25  # questions


class Signals(BaseModel):
    """What was seen of one pair: a line of the file.

    Attributes:
        asked: The question's key; "" for what is seen of the preference alone.
        preference: The preference's name.
        likelihood: How much likelier the preference makes the question, in nats.
        tokens: How many tokens the question has.
        yes: The log-odds of yes where the model is asked whether the preference matters.
        style: How much more the preference reads as a wish about every answer than as a fact.
    """

    model_config = ConfigDict(frozen=True)

    asked: str
    preference: str
    likelihood: float = 0.0
    tokens: int = 0
    yes: float = 0.0
    style: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What makes it unlike any other."""
        return self.asked, self.preference


def write_signals(folder: Path, engine: LocalEngine, answers: Sequence[RecordedAnswer]) -> None:
    """Writes the signals of all pairs that have been answered, and of unrelated questions."""
    pairs: dict[str, list[str]] = {text: [*PREFERENCES] for text in UNRELATED_QUESTIONS}
    for answer in answers:
        if answer.setting == PREF.name and answer.set_ != "calibration":
            pairs.setdefault(answer.asked, []).append(answer.preference)
    prompts = PromptBuilder(engine.tokenizer)
    scorer = QuestionScorer(engine, prompts)
    with Journal(folder / SIGNALS, Signals) as journal:
        there = {line.key for line in journal.lines}
        for name, own in PREFERENCES.items():
            if ("", name) not in there:
                style = style_log_odds(engine, prompts, own.text)
                journal.add(Signals(asked="", preference=name, style=round(style, 4)))
        for number, (question, names) in enumerate(pairs.items()):
            if left := [name for name in names if (question, name) not in there]:
                journal.add(*_signals(scorer, question, left))
            if number % _REPORT_EVERY == 0:
                print(f"signals: {number}/{len(pairs)}", flush=True)


def _signals(scorer: QuestionScorer, question: str, names: Iterable[str]) -> Iterator[Signals]:
    names = [*names]
    texts = [PREFERENCES[name].text for name in names]
    gains, tokens = scorer.likelihoods(question, texts)
    for name, gain, yes in zip(names, gains, scorer.yes_log_odds(question, texts), strict=True):
        yield Signals(
            asked=question,
            preference=name,
            likelihood=round(gain, 4),
            tokens=tokens,
            yes=round(yes, 4),
        )
