"""The embedded model as a judge: a poor one, but read strictly and counted right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation.data.record_types import Answer, Preference
from amulet_integrations.evaluation.judging.judge import judge_pairs, make_pairs
from amulet_integrations.evaluation.judging.judge_prompts import read_verdict
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.langchain import ChatAmulet

pytestmark = pytest.mark.model

PREFERENCES = {"concise": Preference(name="concise", text="Your answer should be concise.")}
TEXTS = {
    "amulet": "Because air scatters blue light most.",
    "base": "The sky, as everyone who looks up will know, has a colour, and that colour is blue.",
}


class Recorded:
    """A judge whose replies are kept."""

    def __init__(self, judge: ChatAmulet) -> None:
        self.judge = judge
        self.replies: list[str] = []

    def batch(self, inputs: list[Any]) -> Sequence[Any]:
        messages = self.judge.batch(inputs)
        self.replies += [message.text for message in messages]
        return messages


def test_every_reply_of_the_embedded_model_is_counted(embedded_engine: LocalEngine) -> None:
    judge = Recorded(ChatAmulet(engine=embedded_engine, max_tokens=4))
    answers = [
        Answer(
            data_set="sky",
            index=index,
            question=question,
            preference="concise",
            method=method,
            text=text,
            token_ids=(),
            finish_reason="stop",
        )
        for index, question in enumerate(("Why is the sky blue?", "What colour is the sky?"))
        for method, text in TEXTS.items()
    ]
    pairs = make_pairs(answers)
    batches = judge_pairs(judge, pairs, PREFERENCES)
    outcomes = [outcome for some in batches for outcome in some]
    assert len(judge.replies) == 4
    verdicts = [read_verdict(reply) for reply in judge.replies]
    (count,) = win_counts(outcomes)
    assert count.unparsable == verdicts.count(None)
    assert count.wins + count.ties + count.losses + count.unread == len(pairs)
    for outcome, *both in zip(outcomes, verdicts[::2], verdicts[1::2], strict=True):
        expected = {("A", "B"): "win", ("B", "A"): "lose"}.get(tuple(both), "tie")
        assert outcome.result == (None if None in both else expected)
