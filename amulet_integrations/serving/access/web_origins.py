"""Origins of web pages, and the host that a browser believes it speaks to."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from amulet_integrations.errors import InvalidParamsError

from .loopback import plain_host

ANY_ORIGIN = "*"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Authority(NamedTuple):
    """A host and a port, as in the header `Host`.

    Attributes:
        host: The host, in lower case; an IPv6 address without brackets.
        port: The port; None where it is not written.
    """

    host: str
    port: str | None

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """Reads a host with or without a port; None if it is neither."""
        found = _HOST.fullmatch(text)
        return None if found is None else cls(plain_host(found[1]), found[2])


def is_of_host(origin: str, authority: Authority) -> bool:
    """Whether pages of an origin come from a host and port."""
    scheme, separator, rest = origin.partition("://")
    found = Authority.parse(rest)
    default = _DEFAULT_PORTS.get(scheme.lower())
    if not separator or found is None or default is None:
        return False
    return (found.host, found.port or default) == (authority.host, authority.port or default)


def check_origins(origins: Collection[str], *, has_keys: bool) -> None:
    """Refuses what no browser sends as an origin, and opening a server without keys to all pages.

    Raises:
        InvalidParamsError: It is no origin, or "*" without keys.
    """
    for origin in origins:
        if origin == ANY_ORIGIN:
            if not has_keys:
                raise InvalidParamsError(
                    "cors_origins='*' without keys: every web page that somebody on this machine "
                    "opens could read every profile. Name the origins, or use keys."
                )
            continue
        scheme, _, rest = origin.partition("://")
        found = Authority.parse(rest)
        is_usual = found is not None and found.port == _DEFAULT_PORTS.get(scheme)
        if scheme not in _DEFAULT_PORTS or found is None or is_usual or origin != origin.lower():
            raise InvalidParamsError(
                f"cors_origins={origin!r:.200} is not as browsers write an origin: "
                "http://localhost:3000 or https://app.example.org, in small letters, without a "
                "path, a slash at the end, or the scheme's own port."
            )
