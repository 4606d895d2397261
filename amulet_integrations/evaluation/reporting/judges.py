"""Judges apart: what one says is never added to what another says."""

from __future__ import annotations

from collections.abc import Iterable

from amulet_integrations.evaluation.judging.judge import WinCount


def by_judge(counts: Iterable[WinCount]) -> dict[str, list[WinCount]]:
    """What each judge said, by its name, judges in the order in which they appear."""
    found: dict[str, list[WinCount]] = {}
    for count in counts:
        found.setdefault(count.judge, []).append(count)
    return found
