"""What each context of a request made of a token: computed in float64, from the step's logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amulet_integrations.engine.result import TokenExplanation, TokenLogprob

if TYPE_CHECKING:
    from amulet_integrations.engine.sequence import Sequence


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
    return _token_logprobs(sequence, logprobs[None], token, alternatives)[0]


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
    contexts = torch.log_softmax(logits.double(), dim=-1)
    used = weights.double()
    views = [contexts[0], _mix(contexts, used)]
    if sequence.reference is not None:
        views.append(_mix(contexts, used.new_tensor(sequence.reference)))
    logprobs = torch.stack(views)
    divergences = _divergences(logprobs[1], logprobs)
    base, policy, pref = [*_token_logprobs(sequence, logprobs, token, alternatives), None][:3]
    assert base is not None and policy is not None  # noqa: S101, PT018
    return TokenExplanation(
        base=base,
        policy=policy,
        pref=pref,
        kl_from_base=divergences[0],
        kl_from_pref=None if pref is None else divergences[2],
        context_logprobs=tuple(contexts[:, token].tolist()),
        weights=tuple(used.tolist()),
        guidance_fraction=fraction,
    )


def _token_logprobs(
    sequence: Sequence, logprobs: Tensor, token: int, alternatives: int
) -> list[TokenLogprob]:
    """How likely a token is under each of some policies (policies, vocab), and the likeliest."""
    top = logprobs.topk(min(alternatives, logprobs.shape[-1]), dim=-1)
    text = sequence.text_of(token)
    return [
        TokenLogprob(
            token,
            text,
            logprob,
            tuple(
                TokenLogprob(other, sequence.text_of(other), value)
                for other, value in zip(others, values, strict=True)
            ),
        )
        for logprob, others, values in zip(
            logprobs[:, token].tolist(), top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]


def _mix(contexts: Tensor, weights: Tensor) -> Tensor:
    """The policy of a mixture as log-probabilities; what a context excludes is excluded."""
    used = weights.nonzero()[:, 0]
    if len(used) == 1 and weights[used[0]] == 1.0:
        return contexts[used[0]]
    mixed = weights @ contexts
    if not bool(mixed.sum().isfinite()):  # one cheap reduction; exclusions are rare
        rows = contexts[used]
        excluded = rows.isneginf().any(dim=0)
        mixed = weights[used] @ rows.masked_fill(excluded, 0.0)
        mixed = mixed.masked_fill(excluded, -torch.inf)
    return torch.log_softmax(mixed, dim=-1)


def _divergences(policy: Tensor, others: Tensor) -> list[float]:
    """KL(policy || each other one) in nats; infinite where one excludes what the policy may take.

    Args:
        policy: Log-probabilities, shape (vocab,).
        others: The same of the others, shape (others, vocab).
    """
    probabilities = policy.exp()
    divergences = probabilities @ policy - others @ probabilities
    if not bool(divergences.sum().isfinite()):  # 0 * inf is NaN
        possible = ~policy.isneginf()
        terms = probabilities[possible] * (policy - others)[:, possible]
        divergences = terms.sum(dim=-1)
    return [max(0.0, value) for value in divergences.tolist()]
