"""Preferences as people write them down: one on each line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.field_types import checked_label

from .foreign_memory import ForeignMemory

ORIGIN = "text"

# Those of editors: a line that `splitlines` sees as well could name another user inside of one.
_LINE_ENDS = re.compile(r"\r\n?|\n")
_BULLET = re.compile(r"(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_HEADER = re.compile(r"(?P<user>\S(?:.*?\S)?):(?:[ \t]+(?P<text>\S.*))?")


def read_plain_text(text: str, user_id: str | None = None) -> list[ForeignMemory]:
    """Reads preferences from plain text.

    Blank lines and lines that begin with "#" say nothing. A bullet ("-", "*", "+", "•") or a number
    ("1.", "1)") at the beginning of a line is left out. With `user_id`, every other line is one
    preference of that user; one that begins a user's section, or names the user, is refused.
    Without it, the lines say whose they are:

        ann: Answer in one short sentence.

        ben:
        - Answer in German.
        - No emojis.

    A line `user: preference` is one preference. A line `user:` begins a section; what follows is
    that user's. In a file with sections, lines with a colon after their first words are indented
    or begin with a bullet, so that "Style: brief" is never taken for a user.

    Args:
        text: The text.
        user_id: Whose preferences they are; None if the lines say so.

    Raises:
        InvalidProfileError: A line is of no user, names one beside `user_id`, or can be read in two
            ways; or the text has no
            preference at all. The message names the line and quotes no preference.
    """
    if not isinstance(text, str):
        raise InvalidProfileError(
            f"The text to import is a {type(text).__name__}; give a string of preferences."
        )
    lines = list(_lines(text.removeprefix("\ufeff")))
    if user_id is not None:
        checked_label("user_id", user_id)
        _check_names_nobody(lines, user_id)
        found = [_memory(user_id, number, _without_bullet(line)) for number, line in lines]
    else:
        found = list(_of_many(lines))
    if not found:
        raise InvalidProfileError(
            "There is no preference in the text; one on each line was expected."
        )
    return found


def _check_names_nobody(lines: list[tuple[int, str]], user_id: str) -> None:
    """Refuses lines that say whose they are, where the caller has said whose all of them are."""
    for number, line in lines:
        header = _header(line)
        if header is not None and (header["text"] is None or header["user"] == user_id):
            raise InvalidProfileError(
                f"line {number} names {header['user']!r:.80}, as if a user's preferences began, "
                f"and user_id={user_id!r:.80} says whose all lines are. Leave out user_id, or "
                'begin the line with "# " if it is a heading.'
            )


def _of_many(lines: list[tuple[int, str]]) -> Iterator[ForeignMemory]:
    headers = {number: match for number, line in lines if (match := _header(line))}
    has_sections = any(match["text"] is None for match in headers.values())
    section: tuple[int, str] | None = None
    begun: set[int] = set()
    for number, line in lines:
        header = headers.get(number)
        if header is not None and header["text"] is None:
            if section is not None and section[0] not in begun:
                raise _empty(*section)
            section = number, _user(number, header["user"])
        elif header is not None and not has_sections:
            yield _memory(_user(number, header["user"]), number, header["text"])
        elif header is not None:
            raise InvalidProfileError(
                f"line {number} can be read in two ways, because there are sections for users: it "
                f'begins with a word and a colon. If it is a preference, begin it with "- "; if '
                "it names a user, put the preference on a line of its own under the name."
            )
        elif section is None:
            raise InvalidProfileError(
                f"line {number} is of no user; expected was `user: preference`, or a line `user:` "
                "before it. If all preferences are of one user, give user_id."
            )
        else:
            begun.add(section[0])
            yield _memory(section[1], number, _without_bullet(line))
    if section is not None and section[0] not in begun:
        raise _empty(*section)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers; white space at the beginning is kept."""
    for number, line in enumerate(_LINE_ENDS.split(text), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.rstrip()


def _header(line: str) -> re.Match[str] | None:
    """A line that names a user: it is not indented and has no bullet."""
    return None if line[0].isspace() or _BULLET.match(line) else _HEADER.fullmatch(line)


def _without_bullet(line: str) -> str:
    line = line.strip()
    match = _BULLET.match(line)
    return line[match.end() :] if match else line


def _user(number: int, user: str) -> str:
    try:
        return checked_label("user_id", user)
    except InvalidProfileError as error:
        raise InvalidProfileError(f"line {number}: {error}") from None


def _empty(number: int, user: str) -> InvalidProfileError:
    return InvalidProfileError(
        f"line {number} begins a section of {user!r:.80}, and no preference follows; expected was "
        "at least one."
    )


def _memory(user_id: str, number: int, text: str) -> ForeignMemory:
    return ForeignMemory(user_id=user_id, text=text, place=f"line {number}", origin=ORIGIN)
