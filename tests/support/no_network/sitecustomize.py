"""For processes that are to need no network: every address but this machine's is refused.

Python imports this when it starts, where its folder is in `PYTHONPATH`.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_connect, _connect_ex, _getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.getaddrinfo,
)


def _is_local(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost", socket.gethostname()}:
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _check(host: Any) -> None:
    if not _is_local(host):
        raise OSError(f"This process is to need no network, and asks for {host!r}.")


def _checked_connect(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple):  # a name is that of a file
        _check(address[0])
    _connect(self, address)


def _checked_connect_ex(self: socket.socket, address: Any) -> int:
    if isinstance(address, tuple):
        _check(address[0])
    return _connect_ex(self, address)


def _checked_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    _check(host)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _checked_connect  # type: ignore[method-assign]
socket.socket.connect_ex = _checked_connect_ex  # type: ignore[method-assign]
socket.getaddrinfo = _checked_getaddrinfo
