"""Characters that neither pages nor pictures can show."""

from __future__ import annotations

from amulet_integrations.evaluation.names import shortened

# Control characters would steer a terminal and are not allowed in a page, and lone surrogates
# cannot be written at all. The former have visible signs.
_UNWRITABLE = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    | {ord("\r"): None, 0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)
)


def writable(text: str) -> str:
    """The text with a sign in place of every character that cannot be written."""
    return text.translate(_UNWRITABLE)


def one_line(text: str) -> str:
    """The same on one line."""
    return writable(" ".join(text.split()))


def plot_label(text: str, longest: int = 28) -> str:
    """A short label for a picture, in which dollars begin no formula."""
    return shortened(writable(text), longest).replace("$", r"\$")
