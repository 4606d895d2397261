"""Which methods are worth comparing with which."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.evaluation.analysis.frontier import reference_of
from amulet_integrations.evaluation.runs.records import Method


def method_pairs(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Pairs of methods for `compare_methods`, by their names.

    The first method of Amulet is compared with every other one, and every other one with `pref`,
    or with the first of all where there is no `pref`.

    Args:
        methods: Those that answered.
    """
    if not methods:
        return []
    ours = next((method for method in methods if method.kind == "amulet"), None)
    reference = reference_of(methods) or methods[0]
    others = [method for method in methods if method is not ours]
    pairs = [] if ours is None else [(ours, other) for other in others]
    if reference is not ours:
        pairs += [(other, reference) for other in others if other is not reference]
    return [(method.name, against.name) for method, against in pairs]
