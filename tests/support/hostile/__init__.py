"""Hostile text by families: what no message, preference, tool, id or schema may do harm with."""

from __future__ import annotations

from .breakers import BREAKERS
from .characters import ALIKE, CHARACTERS, MEGABYTE, SWITCHES, UNENCODABLE
from .control_tokens import COMPOUNDS, CONTROL_TOKENS, LOOKALIKES

ENCODABLE: dict[str, tuple[str, ...]] = {
    **CONTROL_TOKENS,
    **LOOKALIKES,
    **COMPOUNDS,
    **BREAKERS,
    **CHARACTERS,
}
"""The families of strings that can be written as UTF-8."""

HOSTILE: dict[str, tuple[str, ...]] = {**ENCODABLE, **UNENCODABLE, "switches": SWITCHES}
"""All families of strings, but for a megabyte."""

ALL_STRINGS: tuple[str, ...] = tuple(
    dict.fromkeys(string for family in HOSTILE.values() for string in family)
)
"""Every string once."""

__all__ = [
    "ALIKE",
    "ALL_STRINGS",
    "CONTROL_TOKENS",
    "ENCODABLE",
    "HOSTILE",
    "MEGABYTE",
    "SWITCHES",
    "UNENCODABLE",
]
