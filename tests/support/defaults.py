"""How good the wrappers' answers are at the default strength, by the model's own likelihoods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage as LlamaMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.prompting import ChatMessage, PromptBuilder

BROKEN = 1.6
"""Nats a token under the pref context, past which nobody can read an answer."""


class Figures(NamedTuple):
    """Of one answer, each a mean over its tokens, in nats.

    Attributes:
        nll: -log P(token | preference).
        ratio: log P(token | preference) - log P(token | base).
    """

    nll: float
    ratio: float


class Answer(NamedTuple):
    """A wrapper's answer.

    Attributes:
        text: What it says.
        ended: Whether it ended by itself.
        told: What the metadata tells of the strength.
    """

    text: str
    ended: bool
    told: Mapping[str, Any]


async def ask_langchain(
    engine: LocalEngine, questions: Sequence[str], tokens: int, **settings: Any
) -> list[Answer]:
    """Answers of `ChatAmulet`, decoded together."""
    llm = ChatAmulet(engine=engine, max_tokens=tokens, **settings)
    messages = await llm.abatch([[HumanMessage(question)] for question in questions])
    told = [message.response_metadata for message in messages]
    return [
        Answer(message.text, facts["finish_reason"] == "stop", facts["amulet"])
        for message, facts in zip(messages, told, strict=True)
    ]


async def ask_llama_index(
    engine: LocalEngine, questions: Sequence[str], tokens: int, **settings: Any
) -> list[Answer]:
    """Answers of `AmuletLLM`, decoded together."""
    llm = AmuletLLM(engine=engine, max_tokens=tokens, **settings)
    asked = (llm.achat([LlamaMessage(role="user", content=question)]) for question in questions)
    return [
        Answer(str(it.message.content), it.raw["finish_reason"] == "stop", it.raw["amulet"])
        for it in await asyncio.gather(*asked)
    ]


def figures_of(engine: LocalEngine, question: str, preference: str, answer: Answer) -> Figures:
    """Scores an answer under both contexts."""
    prompts = PromptBuilder(engine.tokenizer)
    contexts = prompts.contexts([ChatMessage(role="user", content=question)], [None, preference])
    ids = engine.tokenizer(answer.text, add_special_tokens=False)["input_ids"]
    if answer.ended or not ids:
        ids = [*ids, engine.tokenizer.eos_token_id]
    base, pref = engine.score(contexts, ids).double().mean(dim=1).tolist()
    return Figures(nll=-pref, ratio=pref - base)


def broken(figures: Iterable[Figures]) -> int:
    """How many of them are broken answers."""
    return sum(one.nll > BROKEN for one in figures)


def means(figures: Sequence[Figures]) -> Figures:
    """Means over answers."""
    return Figures(fmean(one.nll for one in figures), fmean(one.ratio for one in figures))
