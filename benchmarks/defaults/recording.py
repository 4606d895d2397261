"""Greedy answers of several settings at once, with what every context thinks of each token.

As long as settings pick the same tokens they share one request. Where they part, the larger party
goes on and the others are told of, each to go on in a request of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from amulet_integrations import SamplingParams
from amulet_integrations.decoding.divergence import DivergenceBounds, mix_bounded_contexts
from amulet_integrations.decoding.logits_filters import LogitsFilters
from amulet_integrations.decoding.mixture import mixing_matrix
from benchmarks.defaults.settings import Setting


class Trace:
    """What one setting answers.

    Args:
        setting: The setting.
        end_id: The token that ends a text.
        most: Most tokens of the answer.

    Attributes:
        setting: The setting.
        tokens: The tokens picked, the one that ends the text included.
        of_token: For each of them its log-probability under every context.
        of_end: The same of the end of the text, at the same places.
        fractions: How far guidance went at each, 1 where no bound held it back.
        moved: The divergence of the second context's policy from the first's at each, in nats.
    """

    def __init__(self, setting: Setting, end_id: int, most: int) -> None:
        self.setting = setting
        self.tokens: list[int] = []
        self.of_token: list[list[float]] = []
        self.of_end: list[list[float]] = []
        self.fractions: list[float] = []
        self.moved: list[float] = []
        self._end_id = end_id
        self._most = most
        self._filters = LogitsFilters(SamplingParams(repetition_penalty=setting.repetition_penalty))

    @property
    def ended(self) -> bool:
        """Whether the text was ended."""
        return self.tokens[-1:] == [self._end_id]

    @property
    def left(self) -> int:
        """How many tokens are still to come, at most."""
        return 0 if self.ended else self._most - len(self.tokens)

    def pick(self, logits: Tensor) -> int:
        """The token of a policy, which has not been noted yet; shape (vocab,)."""
        if self.setting.no_repeat_ngram and (said := self._said_before()):
            logits = logits.index_fill(0, torch.tensor(said), -torch.inf)
        return int(self._filters.draw(logits, self.tokens))

    def note(self, token: int, log_probs: Tensor, fraction: float, moved: float) -> None:
        """Takes the next token; the contexts' log-probabilities have shape (contexts, vocab)."""
        of_token, of_end = log_probs[:, [token, self._end_id]].T.tolist()
        self.tokens.append(token)
        self.of_token.append(of_token)
        self.of_end.append(of_end)
        self.fractions.append(fraction)
        self.moved.append(moved)

    def _said_before(self) -> list[int]:
        """Tokens that would complete a run of tokens that was said already."""
        before = self.setting.no_repeat_ngram - 1
        if len(self.tokens) <= before:
            return []
        last = self.tokens[len(self.tokens) - before :]
        return [
            self.tokens[at + before]
            for at in range(len(self.tokens) - before)
            if self.tokens[at : at + before] == last
        ]


class SharedPolicy:
    """A request's own policy, which several settings follow. It must be asked once a token.

    Args:
        traces: What the settings have answered so far, all the same. Their first two contexts are
            mixed: base and pref.

    Attributes:
        parted: Those that picked another token than the others, in parties of one token.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        self.parted: list[list[Trace]] = []
        self._follow(traces)

    def __call__(self, log_probs: Tensor) -> Tensor:
        """Takes log-probabilities, (contexts, vocab); all weight is on the token that goes on."""
        rows = log_probs[:2].repeat(len(self._traces), 1)  # as if each had contexts of its own
        mixture = mix_bounded_contexts(rows, self._matrix, self._bounds)
        moved = _divergence(*log_probs[:2])
        parties: dict[int, list[Trace]] = {}
        picked: Counter[int] = Counter()
        for trace, logits, fraction in zip(
            self._traces, mixture.logits, mixture.fractions.tolist(), strict=True
        ):
            token = trace.pick(logits)
            trace.note(token, log_probs, fraction, moved)
            parties.setdefault(token, []).append(trace)
            picked[token] += 1
        token, _ = picked.most_common(1)[0]
        if len(parties) > 1:
            self._follow(parties.pop(token))
            self.parted += parties.values()
        policy = torch.full_like(log_probs[0], -torch.inf)
        policy[token] = 0.0
        return policy

    def _follow(self, traces: Sequence[Trace]) -> None:
        self._traces = traces
        scales = [trace.setting.guidance_scale for trace in traces]
        self._matrix = mixing_matrix([(1.0 - scale, scale) for scale in scales])
        self._bounds = DivergenceBounds(
            [(0.0, 1.0)] * len(traces), [trace.setting.max_kl for trace in traces]
        )


def _divergence(base: Tensor, pref: Tensor) -> float:
    """KL(pref || base) of log-probabilities, (vocab,), in nats."""
    terms = pref.exp() * (pref - base)
    return float(torch.where(pref > -torch.inf, terms, 0.0).sum())
