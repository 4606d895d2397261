"""Asks a judge about pairs of answers, and remembers what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amulet_integrations.evaluation.judging.judge import Judge, Pair, judge_pairs, pairs_of
from amulet_integrations.evaluation.judging.names import judge_name
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.evaluation.runs.progress import Progress, ProgressCallback
from amulet_integrations.evaluation.runs.records import Answer, Method, Outcome, Preference

_REPLIES = 2  # of a judge to a pair, one in each order


def ask_judge(
    judge: Judge,
    answers: Sequence[Answer],
    methods: Sequence[Method],
    preferences: Mapping[str, Preference],
    journal: Journal[Outcome] | None = None,
    *,
    tell: ProgressCallback = lambda _: None,
) -> list[Outcome]:
    """What a judge says of Amulet's answers beside those of every other method.

    Args:
        judge: Any LangChain chat model.
        answers: The answers.
        methods: The methods. Each two are judged, unless Amulet and others are among them.
        preferences: The preferences by name.
        journal: Where it is kept; what this judge said there already is not asked for again.
        tell: Called after each few pairs, which are asked about together.

    Raises:
        EvaluationError: The judge fails, or cannot be understood.
    """
    name = judge_name(judge)
    pairs = pairs_of(answers, _judged(methods))
    earlier = [line for line in (journal.lines if journal else []) if line.judge == name]
    found = {_case(line): line for line in earlier}
    left = [pair for pair in pairs if _case_of(pair) not in found]
    stage, total = f"judge {name}", len(pairs)
    if total:
        tell(Progress(stage, total - len(left), total, 1 - len(left) / total))
    understood = any(line.unparsable < _REPLIES for line in earlier)
    for outcomes in judge_pairs(judge, left, preferences, understood=understood):
        if journal:
            journal.add(*outcomes)
        found |= {_case(outcome): outcome for outcome in outcomes}
        tell(Progress(stage, len(found), total, len(found) / total))
    return [found[_case_of(pair)] for pair in pairs]


def _judged(methods: Sequence[Method]) -> list[tuple[str, str]] | None:
    """The first method of Amulet's against all that are none."""
    ours = [method.name for method in methods if method.kind == "amulet"]
    others = [method.name for method in methods if method.kind != "amulet"]
    return [(ours[0], other) for other in others] if ours and others else None


def _case(outcome: Outcome) -> tuple[str, int, str, str, str]:
    return (
        outcome.data_set,
        outcome.index,
        outcome.preference,
        outcome.method,
        outcome.against,
    )


def _case_of(pair: Pair) -> tuple[str, int, str, str, str]:
    return (*pair.first.key, pair.second.method)
