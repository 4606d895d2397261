"""Texts for what messages hold: several blocks, search results, files, and what is no text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from amulet_integrations.caller_warnings import warn_caller
from amulet_integrations.errors import UnreadableContentWarning

_TEXT_TYPES = re.compile(
    r"text/.*|application/((.*[+.])?(json|xml|yaml|toml|csv|sql)|x-ndjson|javascript)",
    re.IGNORECASE,
)


def join_texts(texts: Iterable[str]) -> str:
    """The text of several blocks: each begins on a line of its own, and empty ones are left out."""
    return "\n".join(filter(None, texts))


def with_source(text: str, title: str | None, source: str | None = None) -> str:
    """A text below the title and the source that it comes from, where they are known."""
    heading = f"{title} ({source})" if title and source else title or source
    return join_texts([heading or "", text])


def text_of_file(data: str | bytes, mime_type: str | None) -> str | None:
    """The text that a file holds.

    Args:
        data: The file's bytes in base64.
        mime_type: Its type.

    Returns:
        The text; None if the type is not one of texts, or the data is no text in UTF-8.
    """
    if not _TEXT_TYPES.fullmatch((mime_type or "").partition(";")[0].strip()):
        return None
    as_bytes = data.encode() if isinstance(data, str) else data
    try:
        return base64.b64decode(b"".join(as_bytes.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def named_in_place(what: str, owner: str) -> str:
    """What stands in a prompt in place of something that a text model cannot read; warns of it.

    Args:
        what: What it is, such as "an image (image/png)".
        owner: The kind of message that holds it, for the warning.
    """
    warn_caller(
        f"{owner} holds {what}. The model reads text only, so its prompt just names it. Give in "
        "words what it shows, if the answer depends on that.",
        UnreadableContentWarning,
        once=True,
    )
    return f"[{what}, which cannot be shown here]"
