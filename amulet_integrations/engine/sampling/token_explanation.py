"""What each context of a request made of a token: computed in float64, from the step's logits."""

from __future__ import annotations

from functools import partial
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
    top = logprobs.topk(min(alternatives, len(logprobs)))
    likeliest = tuple(
        TokenLogprob(other, sequence.text_of(other), value)
        for value, other in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    return TokenLogprob(token, sequence.text_of(token), float(logprobs[token]), likeliest)


def explain_token(
    sequence: Sequence, logits: Tensor, weights: Tensor, token: int, *, alternatives: int
) -> TokenExplanation:
    """Explains a token of a request.

    Args:
        sequence: The request. All of its contexts are run, the base context first.
        logits: Their logits, shape (contexts, vocab).
        weights: The weights of the policy, as far as its bound let them go, shape (contexts,).
        token: The token.
        alternatives: How many of the likeliest tokens each policy names.
    """
    contexts = torch.log_softmax(logits.double(), dim=-1)
    used = weights.double()
    base, policy = contexts[0], _mix(contexts, used)
    pref = None
    if sequence.reference is not None:
        pref = _mix(contexts, used.new_tensor(sequence.reference))
    tell = partial(token_logprob, sequence, token=token, alternatives=alternatives)
    return TokenExplanation(
        base=tell(base),
        policy=tell(policy),
        pref=None if pref is None else tell(pref),
        kl_from_base=_divergence(policy, base),
        kl_from_pref=None if pref is None else _divergence(policy, pref),
        context_logprobs=tuple(contexts[:, token].tolist()),
        weights=tuple(used.tolist()),
    )


def _mix(contexts: Tensor, weights: Tensor) -> Tensor:
    """The policy of a mixture as log-probabilities; what a context excludes is excluded."""
    used = weights != 0.0
    rows = contexts[used]
    excluded = rows.isneginf().any(dim=0)
    mixed = weights[used] @ rows.masked_fill(excluded, 0.0)
    return torch.log_softmax(mixed.masked_fill(excluded, -torch.inf), dim=-1)


def _divergence(policy: Tensor, other: Tensor) -> float:
    """KL(policy || other) in nats; infinite where the policy may take what the other excludes."""
    possible = ~policy.isneginf()
    terms = policy.exp() * (policy - other)
    return max(0.0, float(terms[possible].sum()))
