"""The figures behind a page, as compact JSON that a page can hold as it is."""

from __future__ import annotations

import json
import math
from typing import Any

from amulet_integrations.engine.result import TokenLogprob

from .explained_tokens import ExplainedToken, ExplanationData, finite_shift
from .visible_text import label
from .wording import likelier, nats, strength_note

_DIGITS = 5
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def embedded_data(explanation: ExplanationData) -> str:
    r"""The figures as JSON in ASCII, where "<", ">" and "&" are escaped.

    - `scale`: The requested strength.
    - `labels`: What to show for each token id that occurs.
    - `tokens`: For each token its id; the label of its text; its shift in nats and in words; the
      strength that was used, and why it was another one; KL(policy || base) and KL(policy || pref),
      null for infinite; the shifts of the preferences, 9999 or -9999 for infinite; and the token's
      logarithm and the likeliest alternatives under base, pref and policy, as
      `[logprob, id, logprob, id, logprob, …]`. -9999 is the logarithm of 0.
    """
    texts = {
        it.token_id: it.token
        for token in explanation.tokens
        for policy in (token.base, token.pref, token.policy)
        for it in (policy, *policy.top)
    }
    data = {
        "scale": explanation.guidance_scale,
        "labels": {token_id: label(text) for token_id, text in texts.items()},
        "tokens": [_token_data(explanation, token) for token in explanation.tokens],
    }
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _token_data(explanation: ExplanationData, token: ExplainedToken) -> list[Any]:
    return [
        token.policy.token_id,
        label(token.text),
        nats(token.shift, signed=True),
        likelier(token.shift),
        _number(token.guidance_scale),
        strength_note(explanation, token),
        _number(token.kl_from_base),
        _number(token.kl_from_pref),
        [_number(finite_shift(shift)) for shift in token.preference_shifts],
        *(_policy_data(policy) for policy in (token.base, token.pref, token.policy)),
    ]


def _policy_data(policy: TokenLogprob) -> list[float | None]:
    data: list[float | None] = [_number(policy.finite_logprob)]
    for it in policy.top:
        data += [it.token_id, _number(it.finite_logprob)]
    return data


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
