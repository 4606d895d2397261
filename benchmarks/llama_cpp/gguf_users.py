"""Users of Amulet on llama.cpp beside bare loops, the torch engine and llama.cpp's wrappers.

All prompts are read already: each of them keeps what it has read, and a bare loop counts its
decoding alone. Nothing is drafted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage as LlamaIndexMessage

from amulet_integrations import Preference, PreferenceProfile
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.peers import on_worker, present
from benchmarks.support.plots import Bars, Lines
from benchmarks.support.prompts import PARAMS, POETIC, STORY, USERS, pair, pref_system
from benchmarks.support.timed_answers import guided_request, plain_request, run_together
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, Rounds, timed_rounds

from .bare_loop import BareLoop
from .gguf_files import gguf_file, has_llama_cpp
from .llama_peers import LlamaPeers

TOKENS = 64
COUNTS = (1, 2, 4, 8, 16)
TORCH_COUNTS = (1, 8)
DTYPES = ("float32", "bfloat16")
AMULET, ONE_CONTEXT = "Amulet", "one context"
INVOKE, COMPLETE = "ChatLlamaCpp.invoke", "LlamaCPP.complete"
WRAPPERS = (CHAT_AMULET, AMULET_LLM) = ("ChatAmulet.invoke", "AmuletLLM.chat")
NO_DRAFTS = {"prompt_lookup_num_tokens": 0}

Runs = Mapping[str, Callable[[], Any] | None]


def users(count: int, who: str) -> str:
    """The name of a rival with so many users."""
    return f"{count} users, {who}"


def bare(rows: int) -> str:
    """The name of a bare loop."""
    return f"bare loop of {rows} rows"


def ratio(count: int) -> str:
    """The name of what Amulet has of the bare loop with as many rows."""
    return f"{users(count, AMULET)} / {bare(2 * count)}"


PLOTS = [
    Lines(
        "Users on llama.cpp",
        "users at once",
        "tokens/s, all users together",
        {
            "Amulet, two contexts": {n: f"{users(n, AMULET)} tokens/s" for n in COUNTS},
            "a bare loop of as many rows": {n: f"{bare(2 * n)} tokens/s" for n in COUNTS},
            **{
                f"torch, {dtype}": {
                    n: f"{users(n, f'torch {dtype}')} tokens/s" for n in TORCH_COUNTS
                }
                for dtype in DTYPES
            },
        },
    ),
    Bars(
        "One user",
        "tokens/s",
        {
            name.removeprefix("1 users, "): f"{name} tokens/s"
            for name in (
                *(users(1, who) for who in (AMULET, *(f"torch {dtype}" for dtype in DTYPES))),
                *WRAPPERS,
                INVOKE,
                COMPLETE,
            )
        },
    ),
]


def measure(kind: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of all users together, and Amulet's ratios.

    Args:
        kind: The type of the file's weights.
        effort: How much is measured.
    """
    if not has_llama_cpp():
        return {}
    tokens = effort.tokens(TOKENS)
    counts = effort.some(COUNTS)
    with ExitStack() as stack:
        file = stack.enter_context(gguf_file(kind))
        engine = stack.enter_context(_engine(str(file)))
        rivals = {
            **_users(engine, AMULET, counts, tokens),
            **_bare_loops(stack, engine, file, counts, tokens),
            users(1, ONE_CONTEXT): _run(engine, [plain_request(_contexts(engine)[0][1], tokens)]),
            **_wrappers(engine, tokens),
            **_peers(LlamaPeers(file, tokens), engine),
        }
        for dtype in DTYPES:
            torch_engine = stack.enter_context(_engine(dtype=dtype))
            rivals |= _users(torch_engine, f"torch {dtype}", TORCH_COUNTS[: len(counts)], tokens)
        measured = timed_rounds(present(rivals), effort.rounds)
    return _figures(measured, counts, tokens)


@contextmanager
def _engine(*model: str, **options: str) -> Iterator[LocalEngine]:
    with LocalEngine.from_pretrained(*model, **options, **NO_DRAFTS) as engine:
        yield engine


def _contexts(engine: LocalEngine) -> list[tuple[list[int], list[int]]]:
    prompts = PromptBuilder(engine.tokenizer)
    return [pair(prompts, question, preference) for question, preference in USERS]


def _users(engine: LocalEngine, who: str, counts: Sequence[int], tokens: int) -> Runs:
    requests = [guided_request(base, pref, tokens) for base, pref in _contexts(engine)]
    return {users(count, who): _run(engine, requests[:count]) for count in counts}


def _run(engine: LocalEngine, requests: Sequence[GenerationRequest]) -> Callable[[], Any]:
    return lambda: run_together(engine, requests)


def _bare_loops(
    stack: ExitStack, engine: LocalEngine, file: Path, counts: Sequence[int], tokens: int
) -> Runs:
    loop = BareLoop(file, 2 * max(counts))
    stack.callback(loop.close)
    rows = [ids for contexts in _contexts(engine) for ids in contexts]
    sizes = sorted({1, *(2 * count for count in counts)})
    return {bare(size): loop.run(rows[:size], tokens) for size in sizes}


def _wrappers(engine: LocalEngine, tokens: int) -> Runs:
    """The first user through both of our wrappers."""
    options: dict[str, Any] = {
        "engine": engine,
        "profile": PreferenceProfile(user_id="user", preferences=(Preference(text=POETIC),)),
        "params": PARAMS,
        "max_tokens": tokens,
        "min_new_tokens": tokens,
    }
    chat, llm = ChatAmulet(**options), AmuletLLM(**options)
    return {
        CHAT_AMULET: lambda: chat.invoke(STORY),
        AMULET_LLM: lambda: llm.chat([LlamaIndexMessage(role="user", content=STORY)]),
    }


def _peers(peers: LlamaPeers, engine: LocalEngine) -> Runs:
    """The rivals' wrappers: one user, and eight whose turns they take one by one.

    The first user's answer ends early in Q4_0, and they cannot be told to go on.
    """
    prompts = PromptBuilder(engine.tokenizer)
    question, preference = USERS[1]
    prompt = prompts.render([ChatMessage(role="user", content=question)], preference)
    eight = [
        [SystemMessage(pref_system(preference)), HumanMessage(question)]
        for question, preference in USERS[1:9]
    ]
    return {
        INVOKE: on_worker(peers.chat_llama_cpp, lambda _: peers.invoke(eight[0])),
        COMPLETE: on_worker(peers.llama_cpp, lambda _: peers.complete(prompt)),
        users(8, INVOKE): on_worker(
            peers.chat_llama_cpp, lambda _: [peers.invoke(messages) for messages in eight]
        ),
    }


def _figures(measured: Rounds, counts: Sequence[int], tokens: int) -> Figures:
    rates = {
        name: [tokens * _answers(name) / seconds for seconds in of[SECONDS]]
        for name, of in measured.items()
    }
    figures = {f"{name} tokens/s": Figure.of(values) for name, values in rates.items()}
    one, eight = users(1, AMULET), users(8, AMULET)
    pairs = [(users(count, AMULET), bare(2 * count)) for count in counts]
    pairs += [
        (users(count, AMULET), users(count, f"torch {dtype}"))
        for count in TORCH_COUNTS
        for dtype in DTYPES
    ]
    pairs += [(name, rival) for name in (one, *WRAPPERS) for rival in (INVOKE, COMPLETE)]
    pairs += [(one, bare(1)), (eight, one), (eight, users(8, INVOKE))]
    return figures | {
        f"{above} / {below}": Figure.ratio(rates[above], rates[below])
        for above, below in pairs
        if above in rates and below in rates
    }


def _answers(rival: str) -> int:
    """How many answers a run of a rival gives; a bare loop gives one for two rows."""
    numbers = [int(word) for word in rival.split() if word.isdigit()]
    if "bare loop" in rival:
        return max(1, numbers[0] // 2)
    return numbers[0] if numbers else 1
