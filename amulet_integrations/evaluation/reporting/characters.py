"""Characters that neither pages nor pictures can show."""

from __future__ import annotations

from amulet_integrations.evaluation.names import shortened

# Control characters are not allowed in a page, and lone surrogates cannot be written at all.
_UNWRITABLE = {code: 0xFFFD for code in range(0x20) if chr(code) not in "\n\t"} | dict.fromkeys(
    [0x7F, *range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD
)


def writable(text: str) -> str:
    """The text with a sign in place of every character that cannot be written."""
    return text.translate(_UNWRITABLE)


def plot_label(text: str, longest: int = 28) -> str:
    """A short label for a picture, in which dollars begin no formula."""
    return shortened(writable(text), longest).replace("$", r"\$")
