"""The `curl` commands of a page, read as requests: a page must not promise what is not so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Template

STATUS = re.compile(r"^(?:# )?HTTP/1\.1 (\d{3})", re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ |(?=[a-z]))", re.MULTILINE)  # with a prompt or without
FLAGS = frozenset({"-i", "-N", "-s", "-sN", "-is"})


@dataclass
class CurlRequest:
    """What a command sends, and the status that the page shows for it.

    Attributes:
        url: Where to.
        method: The HTTP method.
        headers: The headers.
        body: The body, as it stands; None for none.
        status: The status that is printed below the command (`curl -i`); None if none is, for
            one of success.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    status: int | None = None


def curl_requests(block: str, variables: Mapping[str, str]) -> Iterator[CurlRequest]:
    """The requests of a block of commands, in order. What is printed is a comment in a script.

    Args:
        block: The block's text.
        variables: The variables of the shell that the commands may use.
    """
    for part in COMMAND.split(block)[1:]:
        if part.startswith("curl "):
            command, printed = _split_command(part)
            request = read_curl(Template(command).substitute(variables))
            if status := STATUS.search(printed):
                request.status = int(status[1])
            yield request


def _split_command(part: str) -> tuple[str, str]:
    """A command, which goes on while a quote or a backslash is open, and what it prints."""
    lines = part.splitlines(keepends=True)
    for end in range(1, len(lines) + 1):
        command = "".join(lines[:end])
        try:
            shlex.split(command)
        except ValueError:  # a quote is open
            continue
        if not command.endswith("\\\n"):
            return command, "".join(lines[end:])
    raise AssertionError(f"A quote stays open in: {part}")


def read_curl(command: str) -> CurlRequest:
    """Reads one command; only what pages need is known."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    request = CurlRequest("")
    for word in words:
        if word == "-X":
            request.method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            request.headers[name] = value.strip()
        elif word in {"-d", "--json"}:
            request.body = next(words)
            request.method = "POST" if request.method == "GET" else request.method
            if word == "--json":
                request.headers["Content-Type"] = "application/json"
        elif word not in FLAGS:
            assert not word.startswith("-"), f"{word} of {command}"
            assert not request.url, f"{command} has two addresses"
            request.url = word
    return request
