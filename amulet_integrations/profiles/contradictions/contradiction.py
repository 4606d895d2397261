"""Which preferences of a profile contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from amulet_integrations.profiles.preference import Preference

from .stances import Stance, contradict, stances_of


@dataclass(frozen=True)
class Contradiction:
    """Two preferences that no answer can follow both.

    Attributes:
        first: The number of the one among the preferences, from 0.
        second: The number of the other.
        first_name: Its name; None where it has none.
        second_name: The name of the other.
        about: What they disagree on, such as "length".
        wants: What they want of it, such as ("short", "long"); "no …" is what one does not want.
    """

    first: int
    second: int
    first_name: str | None
    second_name: str | None
    about: str
    wants: tuple[str, str]

    def __str__(self) -> str:
        first = _called(self.first, self.first_name)
        second = _called(self.second, self.second_name)
        return f"{first} and {second} disagree on {self.about}: {' and '.join(self.wants)}"

    def as_json(self) -> dict[str, Any]:
        """The contradiction as plain JSON values; it quotes no preference."""
        return {
            "preferences": [self.first, self.second],
            "names": [self.first_name, self.second_name],
            "about": self.about,
            "wants": list(self.wants),
        }


def find_contradictions(preferences: Sequence[Preference]) -> tuple[Contradiction, ...]:
    """Finds preferences that contradict each other, by their words.

    This reads English and knows a few dimensions: the length of answers, their language, format,
    tone, words, units and the like. It would rather miss a contradiction than see one that is none:
    of new pairs, it found about half. Preferences that cannot hold at the same time do not
    contradict each other: their conditions or times exclude each other, or one has weight 0. A
    negative weight reverses what is wanted.

    Args:
        preferences: The preferences, in their order.

    Returns:
        The contradictions, at most one for each two preferences.
    """
    by_dimension: dict[str, list[tuple[int, Stance]]] = {}
    for number, preference in enumerate(preferences):
        for stance in _weighted_stances(preference):
            by_dimension.setdefault(stance.dimension, []).append((number, stance))
    found: dict[tuple[int, int], Contradiction] = {}
    for dimension in sorted(by_dimension):
        for (i, first), (j, second) in _opposed(by_dimension[dimension]):
            one, other = preferences[i], preferences[j]
            if (i, j) not in found and _may_meet(one, other):
                wants = _shown(first), _shown(second)
                found[i, j] = Contradiction(i, j, one.name, other.name, dimension, wants)
    return tuple(found[pair] for pair in sorted(found))


def _opposed(
    stances: Sequence[tuple[int, Stance]],
) -> Iterator[tuple[tuple[int, Stance], tuple[int, Stance]]]:
    """Pairs of stances that contradict each other; most often there are none, which is quick."""
    if any(contradict(*pair) for pair in combinations({it for _, it in stances}, 2)):
        for one, other in combinations(stances, 2):
            if one[0] != other[0] and contradict(one[1], other[1]):
                yield one, other


def _weighted_stances(preference: Preference) -> frozenset[Stance]:
    if preference.weight == 0.0:
        return frozenset()
    stances = stances_of(preference.text)
    if preference.weight > 0.0:
        return stances
    return frozenset(it._replace(wanted=not it.wanted) for it in stances)


def _may_meet(one: Preference, other: Preference) -> bool:
    """Whether both can hold in one call."""
    if any(other.when.get(name, value) != value for name, value in one.when.items()):
        return False
    return not (_is_over(one, other) or _is_over(other, one))


def _is_over(one: Preference, other: Preference) -> bool:
    """Whether the one ends before the other begins."""
    if one.valid_until is None or other.valid_from is None:
        return False
    return one.valid_until <= other.valid_from


def _shown(stance: Stance) -> str:
    return stance.value if stance.wanted else f"no {stance.value}"


def _called(number: int, name: str | None) -> str:
    return f"preference {number + 1}" + (f" ({name!r:.80})" if name else "")
