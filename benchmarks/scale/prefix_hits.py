"""How many requests meet their kept prefix: a simulation, to check the formula against.

Conversations begin at random (a Poisson process), each with turns at exponential gaps. A replica
keeps what it has read last, and drops what was used least recently. Requests of a user go to one
replica, or each to any.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from dataclasses import dataclass, field

from .formulae import CONTEXTS, Load


@dataclass
class Replica:
    """What one replica keeps: tokens by conversation, the least recently used first."""

    room: float
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict)
    tokens: int = 0

    def take(self, conversation: int, tokens: int) -> bool:
        """Reads a turn; whether the turn before was still there."""
        before = self.kept.pop(conversation, None)
        self.tokens += tokens - (before or 0)
        self.kept[conversation] = tokens
        while self.tokens > self.room:
            _, dropped = self.kept.popitem(last=False)
            self.tokens -= dropped
        return before is not None


def simulate(
    load: Load, room: float, rate: float, replicas: int, *, routed: bool, requests: int = 100_000
) -> float:
    """The share of requests that meet their prefix.

    Args:
        load: Its `turns`, `gap`, `prompt` and `answer` count.
        room: Tokens for which each replica has room.
        rate: Requests a second of all replicas.
        replicas: How many there are.
        routed: Whether all requests of a user go to one replica.
        requests: After how many it ends; the first fifth only fills the replicas.
    """
    chance = random.Random(7)  # noqa: S311 - not a secret
    pool = [Replica(room) for _ in range(replicas)]
    events = [(0.0, 0, 0)]  # seconds, conversation, turn
    begun = met = counted = 0
    for number in range(requests):
        now, conversation, turn = heapq.heappop(events)
        if turn == 0:
            begun += 1
            later = now + chance.expovariate(rate / load.turns)
            heapq.heappush(events, (later, begun, 0))
        replica = pool[conversation % replicas if routed else chance.randrange(replicas)]
        is_met = replica.take(conversation, CONTEXTS * (load.prompt + load.answer))
        if number >= requests / 5:
            counted += 1
            met += is_met
        if chance.random() < load.follow_ups:
            heapq.heappush(events, (now + chance.expovariate(1 / load.gap), conversation, turn + 1))
    return met / counted
