"""What a gate may see of a question and a preference before anything is answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.defaults.study import RecordedAnswer
from benchmarks.relevance.parts import CALIBRATION, asked_under
from benchmarks.relevance.preferences import PREFERENCES

SIGNALS = "signals.jsonl"
_ASKING = (
    'A user once said: "{preference}"\nNow the same user asks: "{question}"\n'
    "Does what the user once said matter to the answer? Answer yes or no."
)


class Signals(BaseModel):
    """What was seen of one pair: a line of the file.

    Attributes:
        asked: The question's key.
        preference: The preference's name.
        likelihood: How much likelier the preference makes the question: log P(question | pref)
            less log P(question | base), in nats.
        tokens: Of how many tokens the question is.
        yes: The log-odds of "yes" when the model is asked whether the preference matters.
    """

    model_config = ConfigDict(frozen=True)

    asked: str
    preference: str
    likelihood: float
    tokens: int
    yes: float


class SignalReader:
    """Asks an engine for the signals of pairs."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._prompts = PromptBuilder(engine.tokenizer)
        self._yes, self._no = (
            engine.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("Yes", "No")
        )

    def read(self, question: str, names: Sequence[str]) -> Iterator[Signals]:
        """The signals of a question and some preferences, by their names."""
        texts = [PREFERENCES[name].text for name in names]
        contexts, other = (self._contexts(text, [None, *texts]) for text in (question, "#"))
        # What the template writes before and behind a question is left out.
        tails = [
            ids[len(ids) - _shared_tail(both) :] for both in (contexts, other) for ids in both[:1]
        ]
        begin = len(tails[0]) - _shared_tail([ids[::-1] for ids in tails])
        end = _shared_tail(tails)
        heads = [ids[: len(ids) - begin] for ids in contexts]
        asked = tails[0][len(tails[0]) - begin : len(tails[0]) - end]
        base, *others = self._engine.score(heads, asked).sum(dim=1).tolist()
        asking = [
            self._contexts(_ASKING.format(preference=text, question=question), [None])[0]
            for text in texts
        ]
        yes = self._engine.score(asking, [self._yes])[:, 0].tolist()
        no = self._engine.score(asking, [self._no])[:, 0].tolist()
        for name, with_it, one, two in zip(names, others, yes, no, strict=True):
            yield Signals(
                asked=question,
                preference=name,
                likelihood=round(with_it - base, 4),
                tokens=len(asked),
                yes=round(one - two, 4),
            )

    def _contexts(self, question: str, texts: Sequence[str | None]) -> list[list[int]]:
        return self._prompts.contexts([ChatMessage(role="user", content=question)], texts)


def write_signals(
    folder: Path, engine: LocalEngine, answers: Sequence[RecordedAnswer], most: int | None
) -> None:
    """Writes the signals of all pairs that are asked, and of the calibration."""
    pairs: dict[str, list[str]] = {text: [*PREFERENCES] for text in CALIBRATION}
    for name in PREFERENCES:
        for question in asked_under(name, answers, most):
            pairs.setdefault(question.key, []).append(name)
    reader = SignalReader(engine)
    with Journal(folder / SIGNALS, Signals) as journal:
        there = {(line.asked, line.preference) for line in journal.lines}
        for number, (question, names) in enumerate(pairs.items()):
            left = [name for name in names if (question, name) not in there]
            if left:
                journal.add(*reader.read(question, left))
            if number % 25 == 0:
                print(f"signals: {number}/{len(pairs)}", flush=True)


def _shared_tail(contexts: Sequence[Sequence[int]]) -> int:
    """How many tokens all contexts end with."""
    count = 0
    for tokens in zip(*(reversed(ids) for ids in contexts), strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count
