"""What streaming costs: through the wrappers here, and through the peers'."""

from __future__ import annotations

from collections import deque
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage as LlamaIndexMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.peers import Peers, on_own_threads, present
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import PARAMS, POETIC, STORY, pair, pref_system
from benchmarks.support.timed_answers import NO_REUSE, guided_request
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, timed_rounds

TOKENS = 32
ROUNDS = 5
ENGINE = "engine.generate"
OURS = (ENGINE, "ChatAmulet.invoke", "ChatAmulet.stream", "AmuletLLM.chat", "AmuletLLM.stream_chat")
THEIRS = ("ChatHuggingFace.stream", "HuggingFaceLLM.stream_complete")
COSTS = (
    ("ChatAmulet.stream", ENGINE),
    ("ChatAmulet.stream", "ChatAmulet.invoke"),
    ("AmuletLLM.stream_chat", ENGINE),
    ("AmuletLLM.stream_chat", "AmuletLLM.chat"),
)
RATIOS = (
    ("ChatAmulet.stream", "ChatHuggingFace.stream"),
    ("AmuletLLM.stream_chat", "HuggingFaceLLM.stream_complete"),
)
PLOTS = [Bars("Streams", "tokens/s", {name: f"{name} tokens/s" for name in (*OURS, *THEIRS)})]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second, and by how many per cent the streams are slower than what is whole."""
    tokens = effort.tokens(TOKENS)
    rounds = 1 if effort.quick else ROUNDS
    peers = Peers(dtype, tokens)
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        request = guided_request(*pair(prompts, STORY, POETIC), tokens)
        options: dict[str, Any] = {
            "engine": engine,
            "preference": POETIC,
            "params": PARAMS,
            "max_tokens": tokens,
            "min_new_tokens": tokens,
        }
        chat, llm = ChatAmulet(**options), AmuletLLM(**options)
        question = [LlamaIndexMessage(role="user", content=STORY)]
        whole = prompts.render([ChatMessage(role="user", content=STORY)], POETIC)
        messages = [SystemMessage(pref_system(POETIC)), HumanMessage(STORY)]
        rivals = {
            ENGINE: lambda: engine.generate([request]),
            "ChatAmulet.invoke": lambda: chat.invoke(STORY),
            "ChatAmulet.stream": lambda: _read(chat.stream(STORY)),
            "AmuletLLM.chat": lambda: llm.chat(question),
            "AmuletLLM.stream_chat": lambda: _read(llm.stream_chat(question)),
            "ChatHuggingFace.stream": on_own_threads(
                peers.chat_hugging_face, lambda peer: _read(peer.stream(messages))
            ),
            "HuggingFaceLLM.stream_complete": on_own_threads(
                peers.hugging_face_llm,
                lambda peer: _read(peer.stream_complete(whole, formatted=True)),
            ),
        }
        measured = timed_rounds(present(rivals), rounds)
    seconds = {name: of[SECONDS] for name, of in measured.items()}
    rates = {f"{name} tokens/s": Figure.rate(tokens, of) for name, of in seconds.items()}
    costs = {
        f"{stream}, % more time than {whole}": Figure.of(
            100 * (s / w - 1) for s, w in zip(seconds[stream], seconds[whole], strict=True)
        )
        for stream, whole in COSTS
    }
    ratios = {
        f"{ours} / {theirs}": Figure.ratio(seconds[theirs], seconds[ours])
        for ours, theirs in RATIOS
        if theirs in seconds
    }
    return {**rates, **costs, **ratios}


def _read(stream: Any) -> None:
    deque(stream, maxlen=0)
