"""What each context of a request made of a token: in float64, from the logits of a step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor

from amulet_integrations.engine.result import TokenExplanation, TokenLogprob

if TYPE_CHECKING:
    from amulet_integrations.engine.sequence import Sequence
    from amulet_integrations.engine.structured.alternatives import Weights


def token_logprob(
    sequence: Sequence, logprobs: Tensor, token: int, alternatives: int
) -> TokenLogprob:
    """How likely a token is, and the likeliest ones.

    Args:
        sequence: The request.
        logprobs: The log-probabilities of a policy, shape (vocab,).
        token: The token.
        alternatives: How many of the likeliest tokens to name.
    """
    return _token_logprob(sequence, _Policy(logprobs, logprobs.new_zeros(())), token, alternatives)


def explain_token(
    sequence: Sequence,
    logits: Tensor,
    weights: Tensor,
    token: int,
    *,
    alternatives: int,
    fraction: float | None = None,
) -> TokenExplanation:
    """Explains a token of a request.

    Args:
        sequence: The request. All of its contexts are run, the base context first.
        logits: Their logits, shape (contexts, vocab).
        weights: The weights of the policy, as far as its bound let them go, shape (contexts,).
        token: The token.
        alternatives: How many of the likeliest tokens each policy names.
        fraction: How far guidance went, as in `Increment.guidance_fractions`.
    """
    contexts, used = logits.double(), tuple(weights.tolist())
    log_totals = torch.logsumexp(logits.float(), dim=-1).double()
    policy_of = partial(_Policy.of, contexts, log_totals)
    base, policy = _Policy(contexts[0], log_totals[0]), policy_of(used)
    pref = None if sequence.reference is None else policy_of(sequence.reference)
    tell = partial(_token_logprob, sequence, token=token, alternatives=alternatives)
    probabilities = (policy.scores - policy.log_total).float().exp_().double()
    divergence_from = partial(_divergence, policy, probabilities)
    return TokenExplanation(
        base=tell(base),
        policy=tell(policy),
        pref=None if pref is None else tell(pref),
        kl_from_base=divergence_from(base),
        kl_from_pref=None if pref is None else divergence_from(pref),
        context_logprobs=tuple((contexts[:, token] - log_totals).tolist()),
        weights=used,
        guidance_fraction=fraction,
    )


class _Policy(NamedTuple):
    """Log-probabilities, up to a constant: float64, shape (vocab,), and their logsumexp.

    The exponentials are float32, which takes a third of the time; what they add is below 1e-6.
    """

    scores: Tensor
    log_total: Tensor

    @classmethod
    def of(cls, contexts: Tensor, log_totals: Tensor, weights: Weights) -> Self:
        """The policy of a mixture of contexts, (contexts, vocab); one alone is taken as it is."""
        used = [index for index, weight in enumerate(weights) if weight]
        if len(used) == 1 and weights[used[0]] == 1.0:
            return cls(contexts[used[0]], log_totals[used[0]])
        scores = _mix(contexts, contexts.new_tensor(weights))
        highest = scores.max()
        total = (scores - highest).float().exp_().sum(dtype=torch.float64)
        return cls(scores, highest + total.log())


def _token_logprob(
    sequence: Sequence, policy: _Policy, token: int, alternatives: int
) -> TokenLogprob:
    scores, log_total = policy
    top = scores.topk(min(alternatives, len(scores)))
    return TokenLogprob(
        token,
        sequence.text_of(token),
        float(scores[token] - log_total),
        tuple(
            TokenLogprob(other, sequence.text_of(other), value)
            for other, value in zip(
                top.indices.tolist(), (top.values - log_total).tolist(), strict=True
            )
        ),
    )


def _mix(contexts: Tensor, weights: Tensor) -> Tensor:
    """The scores of a mixture, up to a constant; what a context excludes is excluded."""
    mixed = weights @ contexts
    if bool(mixed.sum().isfinite()):  # one cheap reduction; exclusions are rare
        return mixed
    rows = contexts[weights != 0.0]
    excluded = rows.isneginf().any(dim=0)
    mixed = weights[weights != 0.0] @ rows.masked_fill(excluded, 0.0)
    return mixed.masked_fill(excluded, -torch.inf)


def _divergence(policy: _Policy, probabilities: Tensor, other: _Policy) -> float:
    """KL(policy || other) in nats; infinite where the other excludes what the policy may take."""
    own, others = probabilities @ policy.scores, probabilities @ other.scores
    if not bool((own + others).isfinite()):  # 0 * inf is NaN
        possible = ~policy.scores.isneginf()
        own = probabilities[possible] @ policy.scores[possible]
        others = probabilities[possible] @ other.scores[possible]
    return max(0.0, float(own - policy.log_total - others + other.log_total))
