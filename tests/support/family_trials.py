"""What is tried on each family: the engine's tokens and their log-probabilities are the plain ones.

Plain is a loop of forward passes over one prompt at a time, without a cache.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from tests.support.tiny import VOCABULARY, tiny_tokenizer

SHORT, MIDDLE, LONG = 3, 17, 41
TOKENS = 8
GUIDANCE = (-1.0, 2.0)
FEW_TOKENS = (5, 6, 7)
TOLERANCE = 1e-3
LEAST_LEAD = 2e-4  # of the likeliest token, in nats, so that rounding cannot change it

Ids = Sequence[int]
Policy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Plain:
    """A completion and the log-probability of each of its tokens."""

    tokens: list[int]
    logprobs: list[float]


@dataclass
class Trial:
    """A family's model, run plainly and by engines.

    Args:
        model: The model, which engines get as it is.
        reference: The same model for plain runs.
        seed: Of the prompts.
    """

    model: PreTrainedModel
    reference: PreTrainedModel
    seed: str

    def engine(self, **limits: int) -> LocalEngine:
        return LocalEngine(self.model, tiny_tokenizer(), model_name=self.seed, **limits)

    def prompt(self, length: int, name: str = "") -> list[int]:
        generator = random.Random(f"{self.seed} {length} {name}")
        return [generator.randrange(2, VOCABULARY) for _ in range(length)]

    def request(self, *contexts: Ids, tokens: int = TOKENS, policy: Policy | None = None) -> GenerationRequest:
        return GenerationRequest(
            contexts=contexts,
            weights=GUIDANCE if len(contexts) == 2 else None,
            policy=policy,
            sampling=SamplingParams(max_new_tokens=tokens),
            logprobs=0,
        )

    def plain(self, request: GenerationRequest) -> Plain:
        """What the model writes without an engine."""
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < request.sampling.max_new_tokens and tokens[-1:] != [1]:
            rows = [self._log_probs([*ids, *tokens]) for ids in request.contexts]
            if request.policy:
                policy = request.policy(torch.stack(rows).float()).double().log_softmax(-1)
            else:
                weights = torch.tensor(request.weights or (1.0,), dtype=torch.float64)
                policy = (weights @ torch.stack(rows)).log_softmax(-1)
            first, second = policy.topk(2).values.tolist()
            assert first - second > LEAST_LEAD, f"two tokens are as likely at {len(tokens)}"
            tokens.append(int(policy.argmax()))
            logprobs.append(first)
        return Plain(tokens, logprobs)

    def check(self, request: GenerationRequest, result: GenerationResult) -> None:
        """Fails unless a result is the plain one."""
        expected = self.plain(request)
        logprobs = torch.tensor([each.logprob for each in result.logprobs or ()])
        assert result.token_ids == expected.tokens
        torch.testing.assert_close(
            logprobs, torch.tensor(expected.logprobs), atol=TOLERANCE, rtol=0
        )

    def _log_probs(self, ids: Ids) -> Tensor:
        with torch.no_grad():
            output = self.reference(torch.tensor([[*ids]]), use_cache=False, return_dict=True)
        return output.logits[0, -1].double().log_softmax(-1)


def alone(trial: Trial) -> None:
    """One long prompt."""
    request = trial.request(trial.prompt(LONG))
    with trial.engine() as engine:
        trial.check(request, engine.generate([request])[0])


def in_company(trial: Trial) -> None:
    """Short, middle and long, with one and with two contexts."""
    requests = [
        trial.request(trial.prompt(SHORT)),
        trial.request(trial.prompt(LONG)),
        trial.request(trial.prompt(MIDDLE), trial.prompt(LONG, "pref")),
    ]
    with trial.engine() as engine:
        for request, result in zip(requests, engine.generate(requests), strict=True):
            trial.check(request, result)


def joining_late(trial: Trial) -> None:
    """Each of three requests comes while those before it are being decoded."""
    lengths = (MIDDLE, LONG, SHORT)
    requests = [trial.request(trial.prompt(length, "late")) for length in lengths]
    streams, parts = [], []
    with trial.engine(max_prefill_tokens=16) as engine:
        for request in requests:
            streams.append(engine.stream(request))
            parts.append(list(itertools.islice(streams[0], 2)) if len(streams) == 1 else [])
        for request, stream, begun in zip(requests, streams, parts, strict=True):
            trial.check(request, GenerationResult.fold([*begun, *stream]))


def second_turn(trial: Trial) -> None:
    """A conversation goes on from kept keys and values, and another branches off in its middle."""
    prompt = trial.prompt(LONG, "turn")
    first = trial.request(prompt)
    with trial.engine() as engine:
        (answer,) = engine.generate([first])
        trial.check(first, answer)
        again = [*prompt, *answer.token_ids]
        requests = [
            trial.request([*again, *trial.prompt(5, "more")]),
            trial.request([*prompt[:MIDDLE], *trial.prompt(9, "other")]),
        ]
        for request, result in zip(requests, engine.generate(requests), strict=True):
            trial.check(request, result)
        assert all(count >= MIDDLE for count in result.usage.cached_tokens)


def with_drafts(trial: Trial) -> None:
    """Three tokens only, so that the text repeats itself, and drafts are right and wrong."""
    mask = torch.full((VOCABULARY,), -torch.inf)
    mask[list(FEW_TOKENS)] = 0.0

    def few(log_probs: Tensor) -> Tensor:
        return (log_probs[0] + mask[: log_probs.shape[-1]]).log_softmax(-1)

    generator = random.Random(trial.seed)
    prompt = [generator.choice(FEW_TOKENS) for _ in range(LONG)]
    requests = [trial.request(prompt, tokens=16, policy=few), trial.request(trial.prompt(SHORT))]
    with trial.engine(prompt_lookup_num_tokens=10) as engine:
        for request, result in zip(requests, engine.generate(requests), strict=True):
            trial.check(request, result)


TRIALS = {
    "alone": alone,
    "in company": in_company,
    "joining late": joining_late,
    "second turn": second_turn,
    "drafts": with_drafts,
}
