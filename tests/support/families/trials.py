"""What is tried on a family: an engine writes the tokens of the plain model, as likely as there.

Plain is a loop of forward passes over one prompt at a time, without a cache.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from tests.support.tiny import VOCABULARY, tiny_tokenizer

from .family import Family, tiny_checkpoint

SHORT, MIDDLE, LONG = 3, 17, 41
TOKENS = 8
GUIDANCE = (-1.0, 2.0)
FEW_TOKENS = (5, 6, 7)
TOLERANCE = 1e-3
LEAST_LEAD = 1e-4  # of the likeliest token, in nats; with less, rounding decides

Policy = Callable[[Tensor], Tensor]


@dataclass
class Trial:
    """A family's model, run plainly and by engines.

    Args:
        family: The family; the prompts follow from its name.
        engine: An engine of its checkpoint.
        plain_model: The same checkpoint, as transformers loads it.
    """

    family: Family
    engine: LocalEngine
    plain_model: PreTrainedModel

    def prompt(self, length: int, kind: str = "") -> list[int]:
        generator = random.Random(f"{self.family.name} {length} {kind}")
        return [generator.randrange(2, VOCABULARY) for _ in range(length)]

    def generate(self, *requests: GenerationRequest) -> list[GenerationResult]:
        """What the engine writes, which has to be the plain completions."""
        results = self.engine.generate(requests)
        self.check(requests, results)
        return results

    def check(
        self, requests: Sequence[GenerationRequest], results: Sequence[GenerationResult]
    ) -> None:
        """Fails unless the results are the plain ones."""
        for request, result in zip(requests, results, strict=True):
            plain = self._plain(request)
            tokens, logprobs = [token for token, _ in plain], [logprob for _, logprob in plain]
            complete = len(tokens) == request.sampling.max_new_tokens or tokens[-1] == 1
            assert result.token_ids[: None if complete else len(tokens)] == tokens
            found = [each.logprob for each in result.logprobs or ()]
            assert all(abs(a - b) < TOLERANCE for a, b in zip(found, logprobs, strict=False))

    @contextmanager
    def counted_passes(self) -> Iterator[list[int]]:
        """Collects how many new tokens a row has in each pass of the model."""
        widths: list[int] = []

        def note(_model: object, _arguments: object, options: dict[str, Tensor]) -> None:
            widths.append(options["input_ids"].shape[1])

        model = self.engine.backend.model
        handle = model.register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield widths
        finally:
            handle.remove()

    def _plain(self, request: GenerationRequest) -> list[tuple[int, float]]:
        """Tokens and their log-probabilities, up to where rounding decides between two tokens."""
        chosen: list[tuple[int, float]] = []
        while len(chosen) < request.sampling.max_new_tokens:
            completion = [token for token, _ in chosen]
            rows = [self._log_probs([*ids, *completion]) for ids in request.contexts]
            mixed = (request.policy or _mixture(request.weights))(torch.stack(rows))
            (first, second), (token, _) = (each.tolist() for each in mixed.topk(2))
            if chosen and first - second < LEAST_LEAD:
                break
            chosen.append((token, first))
            if token == 1:
                break
        return chosen

    def _log_probs(self, ids: Sequence[int]) -> Tensor:
        with torch.no_grad():
            output = self.plain_model(torch.tensor([[*ids]]), use_cache=False, return_dict=True)
        return output.logits[0, -1].double().log_softmax(-1)


def request_of(
    *contexts: Sequence[int], tokens: int = TOKENS, policy: Policy | None = None
) -> GenerationRequest:
    """A greedy request of one context, or of two under guidance."""
    return GenerationRequest(
        contexts=contexts,
        weights=GUIDANCE if len(contexts) == 2 else None,
        policy=policy,
        sampling=SamplingParams(max_new_tokens=tokens),
        logprobs=0,
    )


def alone(trial: Trial) -> None:
    """One prompt, far longer than the windows."""
    trial.generate(request_of(trial.prompt(LONG)))


def in_company(trial: Trial) -> None:
    """Short and long prompts at once, one of them with two contexts."""
    trial.generate(
        request_of(trial.prompt(SHORT)),
        request_of(trial.prompt(LONG, "company")),
        request_of(trial.prompt(MIDDLE), trial.prompt(LONG, "pref")),
    )


def joining_late(trial: Trial) -> None:
    """Two prompts that come, in pieces, while another one is being answered."""
    requests = [request_of(trial.prompt(length, "late")) for length in (MIDDLE, LONG, SHORT)]
    model = trial.engine.backend.model
    with LocalEngine(model, tiny_tokenizer(), max_prefill_tokens=16) as engine:
        results = _begun_before(engine, requests)
    trial.check(requests, results)


def second_turn(trial: Trial) -> None:
    """A conversation that goes on, and one that leaves it in its middle: both keep its prefix."""
    prompt = trial.prompt(LONG, "turn")
    (answer,) = trial.generate(request_of(prompt))
    followed, branched = trial.generate(
        request_of([*prompt, *answer.token_ids, *trial.prompt(5)]),
        request_of([*prompt[:MIDDLE], *trial.prompt(9)]),
    )
    assert followed.usage.cached_tokens >= (LONG,)
    assert branched.usage.cached_tokens >= (MIDDLE,)


def drafts(trial: Trial) -> None:
    """Three tokens only, so that the text repeats itself: some drafts are right, some wrong."""
    with trial.counted_passes() as widths:
        trial.generate(
            request_of(_repetitive(trial), tokens=16, policy=_few_tokens),
            request_of(trial.prompt(SHORT, "drafts")),
        )
    assert any(1 < width <= 11 for width in widths)


def to_the_end(trial: Trial) -> None:
    """A prompt that leaves room for two tokens in the context window."""
    assert trial.engine.context_window == trial.family.context_window
    trial.generate(request_of(trial.prompt(trial.family.context_window - 2), tokens=2))


def at_once(trial: Trial) -> None:
    """The short form: company, a late one, drafts and a second turn."""
    requests = [
        request_of(_repetitive(trial), policy=_few_tokens),
        request_of(trial.prompt(SHORT), tokens=4),
        request_of(trial.prompt(MIDDLE), trial.prompt(LONG), tokens=4),
    ]
    results = _begun_before(trial.engine, requests)
    trial.check(requests, results)
    followed = [*trial.prompt(MIDDLE), *results[-1].token_ids, *trial.prompt(5)]
    (answer,) = trial.generate(request_of(followed, tokens=4))
    assert answer.usage.cached_tokens >= (MIDDLE,)


@contextmanager
def load_trial(family: Family, folder: Path) -> Iterator[Trial]:
    """Writes a family's checkpoint into a folder and loads it, as an engine and plainly.

    Raises:
        UnsupportedModelError: The engine refuses it.
    """
    tiny_checkpoint(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with LocalEngine.from_pretrained(str(folder), dtype="float32", device="cpu") as engine:
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        yield Trial(family, engine, plain.eval())


def _begun_before(
    engine: LocalEngine, requests: Sequence[GenerationRequest]
) -> list[GenerationResult]:
    """Results of requests that come when the first one has two tokens."""
    first = engine.stream(requests[0])
    begun = list(itertools.islice(first, 2))
    later = engine.generate(requests[1:])
    return [GenerationResult.fold([*begun, *first]), *later]


def _repetitive(trial: Trial) -> list[int]:
    generator = random.Random(trial.family.name)
    return [generator.choice(FEW_TOKENS) for _ in range(LONG)]


def _mixture(weights: Sequence[float] | None) -> Policy:
    def mix(rows: Tensor) -> Tensor:
        mixed = torch.tensor(weights or (1.0,), dtype=rows.dtype) @ rows
        return mixed.log_softmax(-1)

    return mix


def _few_tokens(rows: Tensor) -> Tensor:
    policy = torch.full_like(rows[0], -torch.inf)
    policy[list(FEW_TOKENS)] = rows[0, list(FEW_TOKENS)]
    return policy.log_softmax(-1)


TRIALS: dict[str, Callable[[Trial], None]] = {
    "alone": alone,
    "in company": in_company,
    "joining late": joining_late,
    "second turn": second_turn,
    "drafts": drafts,
    "full window": to_the_end,
}
