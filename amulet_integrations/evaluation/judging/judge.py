"""Which of two answers a judge prefers: win rates by any LangChain chat model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Protocol

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.statistics import (
    Estimate,
    Sample,
    estimate,
    sign_flip_p_value,
)
from amulet_integrations.evaluation.judging.names import judge_name
from amulet_integrations.evaluation.judging.prompts import (
    Message,
    Verdict,
    judge_messages,
    read_verdict,
)
from amulet_integrations.evaluation.runs.records import Answer, Outcome, Preference, by_method

DEFAULT_BATCH_SIZE = 8
"""Pairs that are asked about together; each is asked about twice."""

_PATIENCE = 20  # replies without one that can be read, after which a judge is given up
_WORTH = {"win": 1.0, "tie": 0.5, "lose": 0.0}
_EVEN = 0.5  # the win rate of two methods that are alike
_SHOWN = 80  # characters of a reply that an error quotes


class Judge(Protocol):
    """What judges: a LangChain chat model, or anything that takes its messages."""

    def batch(self, inputs: list[list[Message]], /) -> Sequence[Any]:
        """Answers several lists of messages; see LangChain's `Runnable.batch`."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one question under one preference."""

    first: Answer
    second: Answer


@dataclass(frozen=True)
class WinCount:
    """How often a method won against another, by the word of one judge.

    Attributes:
        judge: Who says so.
        preference: The preference's name; None for all of them.
        method: The method.
        against: The other one.
        wins: Pairs in which `method` was preferred, in both orders.
        ties: Pairs called a tie, or judged by the place of the answers.
        losses: Pairs in which `against` was preferred, in both orders.
        unread: Pairs without a result, for the judge's reply could not be read.
        unparsable: Replies that could not be read, two at most of each pair.
        rate: The share of wins, and half of the ties, among the pairs with a result, with its
            interval; of several data sets the mean of their rates. None without any result.
        p_value: Of the sign-flip test of a rate of one half, over questions; not corrected for
            other tests. None without any result.
    """

    judge: str
    preference: str | None
    method: str
    against: str
    wins: int
    ties: int
    losses: int
    unread: int
    unparsable: int
    rate: Estimate | None
    p_value: float | None


def pairs_of(
    answers: Iterable[Answer], methods: Iterable[tuple[str, str]] | None = None
) -> list[Pair]:
    """The pairs of answers to judge.

    Args:
        answers: The answers of a run.
        methods: Which method is judged against which; None takes each two once.

    Raises:
        EvaluationError: There are no answers by one of the methods.
    """
    found = {
        method: {answer.case: answer for answer in theirs}
        for method, theirs in by_method(answers).items()
    }
    pairs = []
    for first, second in combinations(found, 2) if methods is None else methods:
        for method in (first, second):
            if method not in found:
                raise EvaluationError(
                    f"There are no answers by {method!r} to judge. There are answers by "
                    f"{', '.join(found)}."
                )
        pairs += [
            Pair(answer, found[second][case])
            for case, answer in found[first].items()
            if case in found[second]
        ]
    return pairs


def judge_pairs(
    judge: Judge,
    pairs: Sequence[Pair],
    preferences: Mapping[str, Preference],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    understood: bool = False,
) -> Iterator[list[Outcome]]:
    """Asks a judge which answer follows the preference better, in both orders.

    A method wins where the judge prefers it in both orders; where the orders disagree the pair is
    a tie. A pair with a reply that cannot be read has no result. Nothing is told before the judge
    has given one reply that can be read, so nothing remains of a judge that never does.

    Args:
        judge: Any LangChain chat model.
        pairs: The pairs, from `pairs_of`.
        preferences: The preferences by name.
        batch_size: How many pairs are asked about together.
        understood: Whether the judge gave a reply that can be read before, in another run.

    Yields:
        What comes of the pairs that were asked about together, each for its first answer's
        method, in their order.

    Raises:
        EvaluationError: The judge fails, or not one of its first replies can be read.
    """
    if batch_size < 1:
        raise EvaluationError(f"batch_size={batch_size}: give 1 or more.")
    name, held, asked = judge_name(judge), list[Outcome](), 0
    for start in range(0, len(pairs), batch_size):
        some = pairs[start : start + batch_size]
        replies = _ask(judge, [m for pair in some for m in _both_orders(pair, preferences)])
        verdicts = [read_verdict(reply) for reply in replies]
        asked += len(replies)
        understood = understood or any(verdicts)
        if not understood and (asked >= _PATIENCE or start + batch_size >= len(pairs)):
            raise _useless(asked, replies[-1])
        both = zip(verdicts[::2], verdicts[1::2], strict=True)
        held += [_outcome(name, pair, *said) for pair, said in zip(some, both, strict=True)]
        if understood:
            yield held
            held = []


def win_counts(outcomes: Iterable[Outcome], *, by_preference: bool = False) -> list[WinCount]:
    """Counts wins, ties and losses of each two methods, in the order of their appearance.

    Args:
        outcomes: What judges said; each judge is counted apart.
        by_preference: Whether preferences are counted apart.
    """
    counted: dict[tuple[str, str | None, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        preference = outcome.preference if by_preference else None
        key = (outcome.judge, preference, outcome.method, outcome.against)
        counted.setdefault(key, []).append(outcome)
    counts = []
    for key, held in counted.items():
        results = [outcome.result for outcome in held]
        counts.append(
            WinCount(
                *key,
                wins=results.count("win"),
                ties=results.count("tie"),
                losses=results.count("lose"),
                unread=results.count(None),
                unparsable=sum(outcome.unparsable for outcome in held),
                rate=estimate(_samples(held)),
                p_value=sign_flip_p_value(_samples(held, less=_EVEN)),
            )
        )
    return counts


def _samples(outcomes: Iterable[Outcome], *, less: float = 0.0) -> list[Sample]:
    """What results are worth, by question, for each data set."""
    found: dict[str, dict[Hashable, list[float]]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            questions = found.setdefault(outcome.data_set, {})
            questions.setdefault(outcome.index, []).append(_WORTH[outcome.result] - less)
    return [*found.values()]


def _both_orders(pair: Pair, preferences: Mapping[str, Preference]) -> Iterator[list[Message]]:
    question, preference = pair.first.question, preferences[pair.first.preference].text
    texts = (pair.first.text, pair.second.text)
    for answer_a, answer_b in (texts, texts[::-1]):
        yield judge_messages(question, preference, answer_a, answer_b)


def _ask(judge: Judge, asked: list[list[Message]]) -> list[str]:
    try:
        replies = judge.batch(asked)
    except Exception as error:  # judges are somebody else's code, often behind a network
        said = " ".join(str(error).split()) or type(error).__name__
        raise EvaluationError(
            f"The judge failed: {said}. An output folder keeps what was judged before; try again."
        ) from error
    if len(replies) != len(asked):
        raise EvaluationError(
            f"The judge gave {len(replies)} replies to {len(asked)} questions. A judge's `batch` "
            "gives one for each."
        )
    return [_text(reply) for reply in replies]


def _text(reply: Any) -> str:
    """The text of a message: a string, or the text blocks among its contents."""
    content = getattr(reply, "content", reply)
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    return "".join(text for text in texts if isinstance(text, str))


def _useless(asked: int, reply: str) -> EvaluationError:
    return EvaluationError(
        f"The judge gave {asked} replies and none of them could be read. The first line has to be "
        f"A, B or TIE and nothing else. The last reply began: {reply[:_SHOWN]!r}. Use a judge that "
        "follows instructions."
    )


def _outcome(
    judge: str, pair: Pair, in_order: Verdict | None, reversed_: Verdict | None
) -> Outcome:
    result: Literal["win", "tie", "lose"] | None = None
    if in_order is not None and reversed_ is not None:
        verdicts = (in_order, reversed_)
        result = "win" if verdicts == ("A", "B") else "lose" if verdicts == ("B", "A") else "tie"
    return Outcome(
        data_set=pair.first.data_set,
        index=pair.first.index,
        preference=pair.first.preference,
        method=pair.first.method,
        against=pair.second.method,
        result=result,
        unparsable=(in_order, reversed_).count(None),
        judge=judge,
    )
