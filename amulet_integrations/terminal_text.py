"""Text without control characters, so that it steers no terminal and can be written to any file."""

from __future__ import annotations

# Control characters become visible signs; line feeds and tabs stay, and carriage returns, which
# would write over the line, go. Lone surrogates cannot be written at all. Overrides, embeddings
# and isolates of the direction would show a line in another order than it has; the letters of
# right-to-left scripts need none of them.
_DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SIGNS = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    | {ord("\r"): None, 0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), *_DIRECTIONS], 0xFFFD)
)
# JSON itself escapes the characters below these.
_ESCAPES = {code: f"\\u{code:04x}" for code in _SIGNS if code >= 0x7F}  # noqa: PLR2004


def safe(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters become visible signs."""
    return text.translate(_SIGNS)


def safe_json(text: str) -> str:
    """JSON that a terminal shows and does not obey; it holds the same values as before."""
    return text.translate(_ESCAPES)


def one_line(text: object) -> str:
    """The text of an object as `safe` makes it, on one line."""
    return safe(" ".join(str(text).split()))


def quoted_if_odd(name: str) -> str:
    """A name as it is, or as Python writes it where it has outer spaces or hidden characters.

    So no two names are shown as the same text.
    """
    is_plain = name.isprintable() and name == " ".join(name.split())
    return name if is_plain and not name.startswith(("'", '"')) else repr(name)
