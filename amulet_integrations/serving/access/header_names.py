"""Names of headers that may name a user."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amulet_integrations.errors import InvalidParamsError

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_OTHER_HEADERS = frozenset({"authorization", "content-type", "cookie", "host", "origin"})


def checked_headers(names: Sequence[str]) -> tuple[str, ...]:
    """Headers that may name a user.

    Raises:
        InvalidParamsError: One is no header's name, or is a header that means something else.
    """
    for name in names:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OTHER_HEADERS:
            raise InvalidParamsError(
                f"user_headers={name!r:.80} cannot name a user; give the name of a header such "
                "as X-OpenWebUI-User-Id."
            )
    return tuple(names)
