"""Finds answers that go round in circles, as small models write them."""

from __future__ import annotations

_LONGEST_PART = 160
_FEWEST_ROUNDS = 4
_FEWEST_CHARACTERS = 100


def repeats_itself(text: str) -> bool:
    """Whether a text ends in the same words over and over: at least four times, 100 characters.

    Lines and tables of signs do not count.
    """
    tail = text[-_LONGEST_PART * _FEWEST_ROUNDS :]
    for length in range(1, min(_LONGEST_PART, len(tail) // _FEWEST_ROUNDS) + 1):
        part = tail[-length:]
        rounds = max(_FEWEST_ROUNDS, -(-_FEWEST_CHARACTERS // length))
        if tail.endswith(part * rounds) and any(character.isalpha() for character in part):
            return True
    return False
