"""What a card does in a second, and what users ask of it. docs/scale.md names the assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass

SECONDS_A_DAY = 86_400
CONTEXTS = 2
"""An answer that follows preferences has two: with them and without them."""


@dataclass(frozen=True)
class Model:
    """A decoder, by its config.

    Attributes:
        parameters: All of them.
        layers: `num_hidden_layers`.
        kv_heads: `num_key_value_heads`.
        head_dim: `head_dim`.
        bytes_each: Of one number, of weights, keys and values: 2 for bfloat16.
    """

    parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    bytes_each: int = 2

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights, which every step reads."""
        return self.parameters * self.bytes_each

    @property
    def kv_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.bytes_each

    @property
    def flops(self) -> float:
        """Floating-point operations of one token: a multiplication and an addition a weight."""
        return 2 * self.parameters


@dataclass(frozen=True)
class Card:
    """What computes.

    Attributes:
        memory: Bytes.
        bandwidth: Bytes a second.
        flops: Operations a second.
        bandwidth_used: The share of the bandwidth that decoding reaches.
        flops_used: The share of the operations that reading prompts reaches.
        memory_used: The share of the memory that weights, keys and values may take.
    """

    memory: float
    bandwidth: float
    flops: float
    bandwidth_used: float = 0.7
    flops_used: float = 0.5
    memory_used: float = 0.9


@dataclass(frozen=True)
class Load:
    """What users ask for.

    Attributes:
        users: With a profile.
        active: The share of them that asks on a day.
        requests: That an active user sends on a day.
        peak: Requests a second at the busiest time, in means of the day.
        turns: Requests of a conversation.
        gap: Mean seconds from an answer to the next request of the conversation.
        prompt: Tokens of one context of a request, the earlier turns included, in the mean.
        fresh: Tokens of it that the turn before did not have.
        answer: Tokens of an answer.
    """

    users: float = 1e6
    active: float = 0.1
    requests: float = 10
    peak: float = 3
    turns: float = 5
    gap: float = 60
    prompt: int = 1_500
    fresh: int = 500
    answer: int = 300

    @property
    def rate(self) -> float:
        """Requests a second at the busiest time."""
        return self.users * self.active * self.requests / SECONDS_A_DAY * self.peak

    @property
    def follow_ups(self) -> float:
        """The share of requests that continue a conversation."""
        return 1 - 1 / self.turns


def step_seconds(model: Model, card: Card, requests: int, context: float) -> float:
    """Seconds for one token of each of some requests, of two contexts each.

    Reading (weights once, keys and values of every row) and arithmetic are added, as if they never
    overlapped: an upper bound.
    """
    rows = CONTEXTS * requests
    read = model.weight_bytes + rows * context * model.kv_bytes
    return read / (card.bandwidth * card.bandwidth_used) + rows * model.flops / (
        card.flops * card.flops_used
    )


def tokens_a_second(model: Model, card: Card, requests: int, context: float) -> float:
    """Tokens that a card decodes for all of its requests together."""
    return requests / step_seconds(model, card, requests, context)


def prefill_seconds(model: Model, card: Card, tokens: float) -> float:
    """Seconds to read prompts of so many tokens, all contexts counted."""
    return tokens * model.flops / (card.flops * card.flops_used)


def has_room(model: Model, card: Card, requests: int, context: float) -> bool:
    """Whether a card holds the weights and so many running requests."""
    return _cache_tokens(model, card) >= CONTEXTS * requests * context


def _cache_tokens(model: Model, card: Card) -> float:
    return (card.memory * card.memory_used - model.weight_bytes) / model.kv_bytes


def kept_tokens(model: Model, card: Card, requests: int, context: float) -> float:
    """Tokens of ended requests for which a card has room beside its running requests."""
    return max(0.0, _cache_tokens(model, card) - CONTEXTS * requests * context)


def hits(load: Load, kept: float, rate: float, replicas: int = 1) -> float:
    """The share of requests that meet the prefix which the turn before left.

    A prefix lasts until as many new tokens have been kept as there is room for: that is `window`
    seconds (the characteristic time of a cache that drops the least recently used; a turn that
    meets its prefix replaces it, and adds only what is new). Gaps are exponential.

    Args:
        load: The load; its `gap` counts.
        kept: Tokens for which a replica has room.
        rate: Requests a second of one replica.
        replicas: Among how many a request is scattered; 1 where users are routed.
    """
    share = 0.0
    for _ in range(50):  # the more hits, the fewer tokens are added, the longer they last
        added = rate * CONTEXTS * (load.prompt + load.answer - share * (load.prompt - load.fresh))
        window = kept / added if added else math.inf
        share = load.follow_ups / replicas * (1 - math.exp(-window / load.gap))
    return share


@dataclass(frozen=True)
class Plan:
    """What a load needs.

    Attributes:
        rate: Requests a second at the peak.
        cards: How many.
        rate_a_card: Requests a second of each.
        at_once: Requests that a card decodes at a time.
        tokens: Tokens a second that a card can decode.
        seconds_a_token: For which a user waits.
        kept: Tokens for which each card has room beside what runs.
        share_met: Of requests that meet their prefix.
        share_met_unrouted: The same where requests go to any replica.
    """

    rate: float
    cards: int
    rate_a_card: float
    at_once: int
    tokens: float
    seconds_a_token: float
    kept: float
    share_met: float
    share_met_unrouted: float


def make_plan(
    model: Model, card: Card, load: Load, *, at_once: int = 64, busy: float = 0.7
) -> Plan | None:
    """The least number of cards of which each is busy for no more than a share of the time.

    None if a card has no room for the weights and the requests that run.
    """
    if not has_room(model, card, at_once, load.prompt + load.answer):
        return None
    context = load.prompt + load.answer / 2
    kept = kept_tokens(model, card, at_once, context)
    decode = load.answer * step_seconds(model, card, at_once, context) / at_once
    cards, share = 1, 0.0
    for _ in range(50):
        share = hits(load, kept, load.rate / cards)
        fresh = load.prompt - share * (load.prompt - load.fresh)
        each = decode + prefill_seconds(model, card, CONTEXTS * fresh)
        needed = math.ceil(load.rate * each / busy)
        if needed == cards:
            break
        cards = needed
    return Plan(
        rate=load.rate,
        cards=cards,
        rate_a_card=load.rate / cards,
        at_once=at_once,
        tokens=tokens_a_second(model, card, at_once, context),
        seconds_a_token=step_seconds(model, card, at_once, context),
        kept=kept,
        share_met=share,
        share_met_unrouted=hits(load, kept, load.rate / cards, replicas=cards),
    )
