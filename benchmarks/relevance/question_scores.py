"""Candidates of gates: how much preferences have to do with a question, by the model itself.

Nothing here decodes: an engine scores a few tokens under prompts that differ in a preference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.personalization.preference_style import score_contexts
from amulet_integrations.prompting import ChatMessage, PromptBuilder

UNRELATED_QUESTIONS = (
    "What is 6 plus 7?",
    "What is 8 times 3?",
    "What is the capital of South Korea?",
    "Who wrote the play Macbeth?",
    "How many hours are in two days?",
    "What is the chemical symbol for helium?",
    'What is the opposite of the word "empty"?',
    'What is the past tense of the verb "build"?',
    'How do you spell the plural of "glass"?',
    "Which ocean is between Europe and America?",
    "What does LAN stand for?",
    "In which year did the Titanic sink?",
)
"""Questions that hardly any preference has to do with: scores are measured from theirs."""

_PROBES = ("#", "7", "~")  # of three, one is neither the first nor the last character of a question
_ASKING = (
    'A user once said: "{preference}"\nNow the same user asks: "{question}"\n'
    "Does what the user once said matter to the answer? Answer yes or no."
)


class QuestionLikelihoods(NamedTuple):
    """How preferences change the likelihood of a question.

    Attributes:
        gains: log P(question | preference) - log P(question), in nats, for each preference.
        tokens: How many tokens the question has.
    """

    gains: list[float]
    tokens: int


class QuestionScorer:
    """Asks a model what preferences have to do with questions.

    Args:
        engine: The engine.
        prompts: How its prompts are written.
    """

    def __init__(self, engine: Engine, prompts: PromptBuilder) -> None:
        self._engine = engine
        self._prompts = prompts

    def likelihoods(self, question: str, preferences: Sequence[str]) -> QuestionLikelihoods:
        """How much likelier each preference makes a question."""
        heads, ids = self._split(question, preferences)
        base, *others = (sum(row) for row in self._scores(heads, ids))
        return QuestionLikelihoods([other - base for other in others], len(ids))

    def yes_log_odds(self, question: str, preferences: Sequence[str]) -> list[float]:
        """Log P(yes) - log P(no) where the model is asked whether each preference matters."""
        asking = [
            self._contexts(_ASKING.format(preference=text, question=question), [None])[0]
            for text in preferences
        ]
        yes, no = ([sum(row) for row in self._scores(asking, ids)] for ids in self._yes_and_no())
        return [one - other for one, other in zip(yes, no, strict=True)]

    def _split(
        self, question: str, preferences: Sequence[str]
    ) -> tuple[list[list[int]], list[int]]:
        """What comes before a question under each preference and none, and the question's tokens.

        What the template writes before and behind it is found by writing another question, which
        begins and ends with another character.
        """
        ends = (question[:1], question[-1:])
        probe = next(it for it in _PROBES if it not in ends)
        contexts = self._contexts(question, [None, *preferences])
        probes = self._contexts(probe, [None, *preferences])
        tails = [both[0][len(both[0]) - _shared_end(both) :] for both in (contexts, probes)]
        tail, behind = tails[0], _shared_end(tails)
        before = _shared_end([ids[::-1] for ids in tails])
        heads = [[*ids[: len(ids) - len(tail)], *tail[:before]] for ids in contexts]
        return heads, tail[before : len(tail) - behind]

    def _contexts(self, question: str, texts: Sequence[str | None]) -> list[list[int]]:
        return self._prompts.contexts([ChatMessage(role="user", content=question)], texts)

    def _scores(self, contexts: Sequence[Sequence[int]], ids: Sequence[int]) -> list[list[float]]:
        return [*score_contexts(self._engine, contexts, ids, "Scoring the question for the gate")]

    def _yes_and_no(self) -> Iterator[list[int]]:
        return (self._ids(word) for word in ("Yes", "No"))

    def _ids(self, text: str) -> list[int]:
        return [*self._engine.tokenizer.encode(text, add_special_tokens=False)]


def _shared_end(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences end with."""
    count = 0
    for tokens in zip(*(reversed(ids) for ids in sequences), strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count
