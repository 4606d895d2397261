"""A server without keys serves this machine alone."""

from __future__ import annotations

import ipaddress

from amulet_integrations.errors import InvalidParamsError

LOOPBACK_NAMES = frozenset({"localhost"})


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one that only this machine reaches."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind_address(host: str, *, has_keys: bool) -> None:
    """Refuses an address that others reach, where there are no keys.

    Raises:
        InvalidParamsError: It is such an address.
    """
    if not has_keys and not is_loopback(host):
        raise InvalidParamsError(
            f"host={host!r} is open to other machines, and there are no keys: everybody could read "
            "every profile. Make a key (amulet keys create --user NAME --keys FILE) and pass the "
            "file as keys, or serve 127.0.0.1."
        )
