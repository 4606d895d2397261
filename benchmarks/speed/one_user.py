"""One user's answer: Amulet beside transformers' own generate, and beside its wrappers."""

from __future__ import annotations

import torch
from langchain_core.messages import HumanMessage, SystemMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.peers import Peers, on_worker, present
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import PARAMS, POETIC, STORY, pair, pref_system
from benchmarks.support.timed_answers import NO_REUSE, guided_request, run_together
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, timed_rounds

TOKENS = 48
AMULET = "Amulet"
RIVALS = (
    "generate",
    "generate(guidance_scale)",
    "ChatHuggingFace.invoke",
    "HuggingFaceLLM.complete",
)
PLOTS = [Bars("One user", "tokens/s", {name: f"{name} tokens/s" for name in (AMULET, *RIVALS)})]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of all rivals, and Amulet's ratio to each."""
    tokens = effort.tokens(TOKENS)
    peers = Peers(dtype, tokens)
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        base, pref = pair(prompts, STORY, POETIC)
        whole = prompts.render([ChatMessage(role="user", content=STORY)], POETIC)
        messages = [SystemMessage(pref_system(POETIC)), HumanMessage(STORY)]
        guided = {
            "guidance_scale": PARAMS.guidance_scale,
            "negative_prompt_ids": torch.tensor([base]),
        }
        rivals = {
            AMULET: lambda: run_together(engine, [guided_request(base, pref, tokens)]),
            "generate": peers.generate(pref),
            "generate(guidance_scale)": peers.generate(pref, **guided),
            "ChatHuggingFace.invoke": on_worker(
                peers.chat_hugging_face, lambda llm: llm.invoke(messages)
            ),
            "HuggingFaceLLM.complete": on_worker(
                peers.hugging_face_llm, lambda llm: llm.complete(whole, formatted=True)
            ),
        }
        measured = timed_rounds(present(rivals), effort.rounds)
    seconds = {name: of[SECONDS] for name, of in measured.items()}
    rates = {f"{name} tokens/s": Figure.rate(tokens, of) for name, of in seconds.items()}
    ratios = {
        f"{AMULET} / {name}": Figure.ratio(of, seconds[AMULET])
        for name, of in seconds.items()
        if name != AMULET
    }
    return {**rates, **ratios}
