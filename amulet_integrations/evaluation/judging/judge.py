"""Asks a judge, any LangChain chat model, which of two answers follows a preference better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple, Protocol

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import (
    Answer,
    AnswerKey,
    Method,
    Outcome,
    Preference,
    Progress,
    ProgressCallback,
    by_method,
)
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.terminal_text import one_line

from .judge_prompts import Message, Verdict, judge_messages, prompt_digest, read_verdict, text_of

DEFAULT_BATCH_SIZE = 8
"""The number of pairs in a batch. A batch has two questions to the judge for each pair."""

_PATIENCE = 20  # a judge is given up after so many replies if none could be read
_SHOWN = 80  # characters of a reply in an error
_ORDERS = 2  # in which a pair is shown to the judge
_MODEL_NAMES = ("model_name", "model", "model_id", "deployment_name")
_SETTINGS = (
    *("method", "revision", "dtype", "temperature", "top_p", "top_k", "seed"),
    *("reasoning_effort", "max_tokens"),
)
_NEUTRAL = {"dtype": "auto", "top_p": "1", "top_k": "0"}  # these values change nothing


class Judge(Protocol):
    """A LangChain chat model, or anything else that accepts its messages."""

    def batch(self, inputs: list[list[Message]], /) -> Sequence[Any]:
        """Replies to several lists of messages; see LangChain's `Runnable.batch`."""


class Pair(NamedTuple):
    """Two answers to one question under one preference."""

    first: Answer
    second: Answer

    @property
    def key(self) -> tuple[AnswerKey, str]:
        """Identifies the pair within a run, as `Outcome.pair_key` does."""
        return self.first.key, self.second.method


def ask_judge(
    judge: Judge,
    answers: Sequence[Answer],
    methods: Sequence[Method],
    preferences: Mapping[str, Preference],
    journal: Journal[Outcome],
    *,
    on_progress: ProgressCallback = lambda _: None,
) -> list[Outcome]:
    """Asks a judge to compare the answers of the first method of Amulet with all other methods'.

    Args:
        judge: Any LangChain chat model.
        answers: The answers.
        methods: The methods. Each two of them are compared, unless there are both methods of Amulet
            and others.
        preferences: The preferences by name.
        journal: Where outcomes are stored. Pairs for which it has an outcome of this judge are not
            asked again.
        on_progress: Called after each batch of pairs.

    Returns:
        The outcome of each pair.

    Raises:
        EvaluationError: The judge fails, or its replies cannot be read.
    """
    name = judge_name(judge)
    amulet = [method.name for method in methods if method.kind == "amulet"]
    others = [method.name for method in methods if method.kind != "amulet"]
    compared = [(amulet[0], other) for other in others] if amulet and others else None
    pairs = make_pairs(answers, compared)
    earlier = [line for line in journal.lines if line.judge == name]
    found = {line.pair_key: line for line in earlier}
    missing = [pair for pair in pairs if pair.key not in found]
    stage, total = f"judge {name}", len(pairs)
    if total:
        on_progress(Progress(stage, total - len(missing), total, 1 - len(missing) / total))
    understood = any(line.unparsable < _ORDERS for line in earlier)
    for outcomes in judge_pairs(judge, missing, preferences, understood=understood):
        journal.add(*outcomes)
        found |= {outcome.pair_key: outcome for outcome in outcomes}
        on_progress(Progress(stage, len(found), total, len(found) / total))
    return [found[pair.key] for pair in pairs]


def judge_name(judge: Any) -> str:
    """Returns the name of a judge, such as `gpt-5 (temperature 0, prompt 3fa2c1)`.

    It has the name of the model, a digest of the prompt and, if the judge has these attributes,
    its method, revision, dtype, temperature, top_p, top_k, seed, reasoning effort and most tokens.
    Verdicts under other settings have another name. The name contains no key, and none of the
    judge's own preferences.

    Args:
        judge: A LangChain chat model, also with bound arguments, or anything else.
    """
    models = (_setting(judge, name) for name in _MODEL_NAMES)
    model = next((name for name in models if name), type(judge).__name__)
    settings = {name: _setting(judge, name) for name in _SETTINGS}
    if getattr(judge, "engine", None) is not None:
        del settings["dtype"]  # a given engine computes in its own dtype
    shown = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in settings.items()
        if value and value != _NEUTRAL.get(name)
    ]
    return f"{model} ({', '.join([*shown, f'prompt {prompt_digest()}'])})"


def make_pairs(
    answers: Iterable[Answer], methods: Iterable[tuple[str, str]] | None = None
) -> list[Pair]:
    """Returns the pairs of answers to compare.

    Args:
        answers: The answers of a run.
        methods: Pairs of methods; None compares each two methods.
    """
    by_prompt = {
        method: {answer.prompt_key: answer for answer in group}
        for method, group in by_method(answers).items()
    }
    pairs = []
    for first, second in combinations(by_prompt, 2) if methods is None else methods:
        others = by_prompt.get(second, {})
        pairs += [
            Pair(answer, others[key])
            for key, answer in by_prompt.get(first, {}).items()
            if key in others
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

    A method wins if the judge prefers it in both orders. If the orders disagree, the pair is a tie.
    A pair has no result if one of its replies cannot be read. Nothing is yielded until the judge
    has given one reply that can be read, so a judge that never does leaves nothing behind.

    Args:
        judge: Any LangChain chat model.
        pairs: The pairs, from `make_pairs`.
        preferences: The preferences by name.
        batch_size: The number of pairs in a batch.
        understood: Whether a reply of this judge could be read in an earlier run.

    Yields:
        The outcomes of a batch for the methods of the first answers, in the order of the pairs.

    Raises:
        EvaluationError: The judge fails, or none of its first replies can be read.
    """
    name, waiting, count = judge_name(judge), list[Outcome](), 0
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        replies = _call(judge, [m for pair in batch for m in _both_orders(pair, preferences)])
        verdicts = [read_verdict(reply) for reply in replies]
        count += len(replies)
        understood = understood or any(verdicts)
        if not understood and (count >= _PATIENCE or start + batch_size >= len(pairs)):
            raise EvaluationError(
                f"The judge gave {count} replies and none of them could be read. The first line "
                "has to be A, B or TIE and nothing else. The last reply began: "
                f"{replies[-1][:_SHOWN]!r}. Use a judge that follows instructions."
            )
        both = zip(verdicts[::2], verdicts[1::2], strict=True)
        waiting += [_outcome(name, pair, *two) for pair, two in zip(batch, both, strict=True)]
        if understood:
            yield waiting
            waiting = []


def _setting(judge: Any, name: str) -> str:
    """Returns a setting of a judge as text, empty if the judge has none."""
    bound = getattr(judge, "kwargs", None)  # arguments of `bind` override the model's own
    value = bound.get(name) if isinstance(bound, Mapping) else None
    if value is None:
        value = getattr(judge, name, None)
    if isinstance(value, float):
        return f"{value:g}"  # 0 and 0.0 are the same temperature
    return str(value) if isinstance(value, str | int) else ""


def _both_orders(pair: Pair, preferences: Mapping[str, Preference]) -> Iterator[list[Message]]:
    question, preference = pair.first.question, preferences[pair.first.preference].text
    texts = (pair.first.text, pair.second.text)
    for answer_a, answer_b in (texts, texts[::-1]):
        yield judge_messages(question, preference, answer_a, answer_b)


def _call(judge: Judge, inputs: list[list[Message]]) -> list[str]:
    try:
        replies = judge.batch(inputs)
    except Exception as error:  # a judge may be a user's own code, or behind a network
        reason = one_line(error) or type(error).__name__
        raise EvaluationError(
            f"The judge failed: {reason}. An output folder keeps what was judged before; try again."
        ) from error
    if len(replies) != len(inputs):
        raise EvaluationError(
            f"The judge gave {len(replies)} replies to {len(inputs)} questions. A judge's `batch` "
            "gives one for each."
        )
    return [text_of(reply) for reply in replies]


def _outcome(judge: str, pair: Pair, *verdicts: Verdict | None) -> Outcome:
    """Combines the verdicts on both orders."""
    won: dict[tuple[Verdict | None, ...], Literal["win", "lose"]]
    won = {("A", "B"): "win", ("B", "A"): "lose"}
    return Outcome(
        **pair.first.key._asdict(),
        against=pair.second.method,
        result=None if None in verdicts else won.get(verdicts, "tie"),
        unparsable=verdicts.count(None),
        judge=judge,
    )
