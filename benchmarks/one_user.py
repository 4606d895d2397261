"""One user: Amulet beside transformers' own generate, on the embedded model."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.embedded import embedded_model_path
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.timing import median_seconds

QUESTION = "Tell me a long story about a lighthouse keeper and the sea."
PREFERENCE = "Use vivid, poetic language."
TOKENS = 64
PARAMS = AmuletParams(iterations=2)


def measure(dtype: str) -> dict[str, float]:
    """Tokens per second of the three rivals, and Amulet's ratio to the other two."""
    path = embedded_model_path()
    model = run_on_worker(
        lambda: AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    )
    engine = LocalEngine.from_pretrained(dtype=dtype)
    question = [ChatMessage(role="user", content=QUESTION)]
    base, pref = PromptBuilder(engine.tokenizer).contexts(question, [None, PREFERENCE])
    greedy = GenerationConfig(
        do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS, pad_token_id=2
    )

    def generate(**options: object) -> None:
        def run() -> None:
            with torch.inference_mode():
                ids = torch.tensor([pref])
                model.generate(
                    ids, attention_mask=torch.ones_like(ids), generation_config=greedy, **options
                )

        run_on_worker(run)

    def guided() -> None:
        generate(guidance_scale=PARAMS.guidance_scale, negative_prompt_ids=torch.tensor([base]))

    with engine:
        request = GenerationRequest(
            contexts=[base, pref],
            weights=amulet_weights(PARAMS),
            sampling=SamplingParams(max_new_tokens=TOKENS),
        )

        def amulet() -> None:
            (result,) = engine.generate([request])
            if len(result.token_ids) != TOKENS:
                raise SystemExit(f"The answer ended after {len(result.token_ids)} tokens.")

        seconds = median_seconds({"amulet": amulet, "generate": generate, "guidance": guided})
    return {
        "amulet tokens/s": TOKENS / seconds["amulet"],
        "generate tokens/s": TOKENS / seconds["generate"],
        "generate(guidance_scale) tokens/s": TOKENS / seconds["guidance"],
        "amulet / generate": seconds["generate"] / seconds["amulet"],
        "amulet / generate(guidance_scale)": seconds["guidance"] / seconds["amulet"],
    }
