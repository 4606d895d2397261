"""The published algorithm, written plainly: no cache, and the game played at every position.

For each token both contexts are read whole, padded to one length, and the FTRL update is applied
60 times to the policies of all positions, although only the last one picks a token.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations import AmuletParams
from amulet_integrations.engine import LocalEngine, run_on_worker
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.peers import Peers
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import POETIC, pair, story_prompt
from benchmarks.support.timed_answers import NO_REUSE, guided_request, run_together
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, timed_rounds

PROMPT = 1_000
TOKENS = 32
PUBLISHED_TOKENS = 1
"""It takes many seconds for one, and the same for every one."""
ROUNDS = 2
GAME = AmuletParams()
AMULET, PUBLISHED = "Amulet", "published algorithm"
PLOTS = [
    Bars(
        "A prompt of 1,000 tokens",
        "tokens/s",
        {name: f"{name} tokens/s" for name in (AMULET, PUBLISHED)},
        log=True,
    )
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of whole answers to a prompt of 1,000 tokens, reading it included."""
    tokens = effort.tokens(TOKENS)
    prompt = 100 if effort.quick else PROMPT
    peers = Peers(dtype, tokens)
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        question = story_prompt(engine.tokenizer, prompt)
        base, pref = pair(PromptBuilder(engine.tokenizer), question, POETIC)
        rivals = {
            AMULET: lambda: run_together(engine, [guided_request(base, pref, tokens)]),
            PUBLISHED: lambda: run_on_worker(publish, peers.model, base, pref, PUBLISHED_TOKENS),
        }
        run_together(engine, [guided_request(base[:64], pref[:64], 2)])
        # The other one would gain nothing by being warmed up, and takes long.
        measured = timed_rounds(rivals, min(ROUNDS, effort.rounds), warm_up=False)
    seconds = {name: of[SECONDS] for name, of in measured.items()}
    amulet = [tokens / s for s in seconds[AMULET]]
    published = [PUBLISHED_TOKENS / s for s in seconds[PUBLISHED]]
    return {
        "prompt tokens": float(len(pref)),
        "Amulet tokens/s": Figure.of(amulet),
        "published algorithm tokens/s": Figure.of(published),
        "Amulet / published algorithm": Figure.ratio(amulet, published),
    }


@torch.inference_mode()
def publish(model: PreTrainedModel, base: list[int], pref: list[int], tokens: int) -> None:
    """Decodes greedily, as the published code does."""
    contexts = [list(base), list(pref)]
    for _ in range(tokens):
        width = max(map(len, contexts))
        rows = torch.tensor([[0] * (width - len(ids)) + ids for ids in contexts])
        log_base, log_pref = model(rows, use_cache=False).logits.float().log_softmax(dim=-1)
        token = int(play(log_base, log_pref, GAME)[-1].argmax())
        for ids in contexts:
            ids.append(token)


def play(log_base: Tensor, log_pref: Tensor, params: AmuletParams) -> Tensor:
    """The game, update by update; log-probabilities (positions, vocab) in, logits out.

    In place and without normalising in between, which changes no policy: this is as fast as it
    can be written without changing what is computed.
    """
    policy = log_pref.clone()
    total = torch.zeros_like(policy)
    for step in range(1, params.iterations + 1):
        total.add_(policy, alpha=params.alpha).sub_(log_base, alpha=params.alpha)
        pull = params.lambda_ * params.eta * step
        policy.add_(total, alpha=params.eta).add_(log_pref, alpha=pull).div_(pull + 1.0)
    return policy
