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
    """What one replica keeps: the last turn by conversation, the least recently used first."""

    room: int
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def take(self, conversation: int, turn: int) -> bool:
        """Reads a turn; whether the turn before was still there."""
        before = self.kept.pop(conversation, None)
        self.kept[conversation] = turn
        if len(self.kept) > self.room:
            self.kept.popitem(last=False)
        return before is not None and before == turn - 1


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
    conversations = round(room / (CONTEXTS * (load.prompt + load.answer)))
    pool = [Replica(conversations) for _ in range(replicas)]
    events = [(0.0, 0, 0)]  # seconds, conversation, turn
    begun = met = counted = 0
    for number in range(requests):
        now, conversation, turn = heapq.heappop(events)
        if turn == 0:
            begun += 1
            later = now + chance.expovariate(rate / load.turns)
            heapq.heappush(events, (later, begun, 0))
        replica = pool[conversation % replicas if routed else chance.randrange(replicas)]
        is_met = replica.take(conversation, turn)
        if number >= requests / 5:
            counted += 1
            met += is_met
        if chance.random() < load.follow_ups:
            heapq.heappush(events, (now + chance.expovariate(1 / load.gap), conversation, turn + 1))
    return met / counted
