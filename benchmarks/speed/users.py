"""Many users at once, each with a question and a preference of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage as LlamaIndexMessage

from amulet_integrations import InMemoryProfileStore, Preference, PreferenceProfile
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.peers import Peers, on_own_threads, present
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import PARAMS, USERS, pair, pref_system
from benchmarks.support.timed_answers import (
    FIRST,
    NO_REUSE,
    guided_request,
    plain_request,
    run_together,
)
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, timed_rounds

TOKENS = 64
COUNTS = (1, 2, 4, 8, 16)
EIGHT = 8
ONE_PROMPT = "generate, one prompt"
PEER = "ChatHuggingFace.batch of 8"
AMULET = "8 users, Amulet"
THROUGH_WRAPPERS = ("ChatAmulet.batch of 8", "ChatAmulet.abatch of 8", "AmuletLLM, 8 threads")
PLOTS = [
    Lines(
        "Many users",
        "users at once",
        "tokens/s, all users together",
        {
            "Amulet, two contexts": {n: f"{n} users, Amulet tokens/s" for n in COUNTS},
            "one context": {n: f"{n} users, plain tokens/s" for n in COUNTS},
            "generate, one prompt": dict.fromkeys(COUNTS, f"{ONE_PROMPT} tokens/s"),
        },
    ),
    Lines(
        "Waiting beside others",
        "users at once",
        "time to first token, ms",
        {
            "Amulet, two contexts": {n: f"{n} users, Amulet first token ms" for n in COUNTS},
            "one context": {n: f"{n} users, plain first token ms" for n in COUNTS},
        },
    ),
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of all users together, and their median time to the first token."""
    tokens = effort.tokens(TOKENS)
    peers = Peers(dtype, tokens)
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        contexts = [pair(prompts, question, preference) for question, preference in USERS]
        two = [guided_request(base, pref, tokens) for base, pref in contexts]
        one = [plain_request(base, tokens) for base, _ in contexts]
        prefs = [pref for _, pref in contexts]
        rivals: dict[str, Callable[[], Any] | None] = {ONE_PROMPT: peers.generate(prefs[0])}
        for count in effort.some(COUNTS):
            rivals[f"{count} users, Amulet"] = _run(engine, two[:count])
            rivals[f"{count} users, plain"] = _run(engine, one[:count])
        rivals[AMULET] = _run(engine, two[:EIGHT])
        rivals |= _wrappers(engine, tokens)
        rivals["generate, batch of 8"] = peers.generate(*prefs[:EIGHT])
        rivals[PEER] = on_own_threads(
            peers.chat_hugging_face, lambda llm: llm.batch(_conversations())
        )
        measured = timed_rounds(present(rivals), effort.rounds)
    rates = {
        name: [tokens * _answers(name) / seconds for seconds in of[SECONDS]]
        for name, of in measured.items()
    }
    figures = {f"{name} tokens/s": Figure.of(values) for name, values in rates.items()}
    figures |= {
        f"{name} first token ms": Figure.of(1000 * s for s in of[FIRST])
        for name, of in measured.items()
        if FIRST in of
    }
    for name in (AMULET, *THROUGH_WRAPPERS):
        for rival in (ONE_PROMPT, PEER):
            if rival in rates:
                figures[f"{name} / {rival}"] = Figure.ratio(rates[name], rates[rival])
    return figures


def _run(engine: LocalEngine, requests: Sequence[GenerationRequest]) -> Callable[[], Any]:
    return lambda: run_together(engine, requests)


def _wrappers(engine: LocalEngine, tokens: int) -> dict[str, Callable[[], Any]]:
    """The same eight users, known by their names, through both wrappers."""
    names = [f"user-{number}" for number in range(EIGHT)]
    questions = [question for question, _ in USERS[:EIGHT]]
    store = InMemoryProfileStore()
    for name, (_, preference) in zip(names, USERS, strict=False):
        profile = PreferenceProfile(user_id=name, preferences=(Preference(text=preference),))
        store.save(profile)
    options: dict[str, Any] = {
        "engine": engine,
        "profiles": store,
        "params": PARAMS,
        "max_tokens": tokens,
        "min_new_tokens": tokens,
    }
    chat, llm = ChatAmulet(**options), AmuletLLM(**options)
    configs = [{"configurable": {"user_id": name}} for name in names]

    def ask(name: str, question: str) -> object:
        return llm.chat([LlamaIndexMessage(role="user", content=question)], user_id=name)

    def on_threads() -> None:
        with ThreadPoolExecutor(EIGHT) as threads:
            list(threads.map(ask, names, questions))

    batch, abatch, threads = THROUGH_WRAPPERS
    return {
        batch: lambda: chat.batch(questions, config=configs),
        abatch: lambda: asyncio.run(chat.abatch(questions, config=configs)),
        threads: on_threads,
    }


def _conversations() -> list[Any]:
    return [
        [SystemMessage(pref_system(preference)), HumanMessage(question)]
        for question, preference in USERS[:EIGHT]
    ]


def _answers(rival: str) -> int:
    """How many answers a run of a rival gives."""
    if rival == ONE_PROMPT:
        return 1
    return int(rival.split(maxsplit=1)[0]) if rival[0].isdigit() else EIGHT
