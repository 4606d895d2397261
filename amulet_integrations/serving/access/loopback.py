"""A server without keys serves this machine alone."""

from __future__ import annotations

import ipaddress

from amulet_integrations.errors import InvalidParamsError

LOOPBACK_NAMES = frozenset({"localhost", "localhost."})


def plain_host(host: str) -> str:
    """A name or an address in the form that can be listened on.

    Brackets around an IPv6 address go, and an IPv4 address that is written as IPv6, such as
    ``::ffff:127.0.0.1``, becomes an IPv4 address.
    """
    host = host.strip().lower()
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one that only this machine reaches.

    Addresses count in their full form only: what ``127.1`` and ``0x7f.1`` mean depends on who
    reads them. Other names than ``localhost`` may lead anywhere.
    """
    host = plain_host(host)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def check_bind_address(host: str, *, has_keys: bool) -> None:
    """Refuses an address that others reach, where there are no keys.

    Raises:
        InvalidParamsError: It is such an address, or empty.
    """
    if not host.strip():
        raise InvalidParamsError(
            f"host={host!r} is empty. Give 127.0.0.1 for this machine, or 0.0.0.0 for all."
        )
    if not has_keys and not is_loopback(host):
        raise InvalidParamsError(
            f"host={host!r} is not 127.0.0.1, ::1 or localhost, so it may be open to others, and "
            "there are no keys: everybody could read every profile. Make a key (amulet keys create "
            "--user NAME --keys FILE) and pass the file as keys, or serve 127.0.0.1."
        )
