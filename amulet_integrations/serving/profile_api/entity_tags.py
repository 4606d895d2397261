"""Entity tags: the version of a profile as HTTP writes it, and requests that depend on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from pydantic import WithJsonSchema

from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.serving.api_errors import ApiError

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_WEAK = "W/"


def entity_tag(profile: PreferenceProfile) -> str:
    """The strong tag of a stored profile: its version in quotes."""
    return f'"{profile.version}"'


@dataclass(frozen=True)
class Precondition:
    """What a request demands of the stored profile, by `If-Match` and `If-None-Match`.

    Attributes:
        if_match: Tags of which the profile has to have one, or ("*",) for any profile; None where
            the header is not sent. A weak tag matches nothing.
        if_none_match: Tags of which the profile must have none, or ("*",) for no profile at all;
            None where the header is not sent.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    @property
    def is_set(self) -> bool:
        """Whether the request demands anything."""
        return not (self.if_match is None and self.if_none_match is None)

    def check_match(self, stored: PreferenceProfile | None) -> None:
        """Checks `If-Match`.

        Raises:
            ApiError: 412, another version is stored, or none.
        """
        if self.if_match is None:
            return
        if stored is not None and (self.if_match == ("*",) or entity_tag(stored) in self.if_match):
            return
        now = "none is stored" if stored is None else f"it is {entity_tag(stored)} now"
        raise _precondition_failed(
            f"The profile is not that of If-Match: {now}. Read it again and repeat the change."
        )

    def check(self, stored: PreferenceProfile | None) -> None:
        """Checks both headers, for a change.

        Raises:
            ApiError: 412, the stored profile is not as the request demands.
        """
        self.check_match(stored)
        if self.is_known(stored):
            assert stored is not None  # noqa: S101 - else no tag is known
            raise _precondition_failed(
                f"If-None-Match: there is a profile, {entity_tag(stored)}. Leave the header out to "
                "write over it."
            )

    def is_known(self, stored: PreferenceProfile | None) -> bool:
        """Whether `If-None-Match` names the stored profile; a weak tag does, too."""
        if self.if_none_match is None or stored is None:
            return False
        tags = {tag.removeprefix(_WEAK) for tag in self.if_none_match}
        return self.if_none_match == ("*",) or entity_tag(stored) in tags


def _precondition_failed(message: str) -> ApiError:
    return ApiError(412, message, code="precondition_failed")


def _read_tags(name: str, lines: Sequence[str]) -> tuple[str, ...] | None:
    """The tags of a header, whose lines count as one list; None if it is not sent."""
    if not lines:
        return None
    value = ", ".join(lines).strip()
    if value == "*":
        return ("*",)
    parts = {part.strip() for part in _TAG.sub('""', value).split(",")} - {""}
    if parts != {'""'}:
        raise ApiError(
            400, f'{name}: {value!r:.80} is no entity tag. Write it in quotes, such as "3", or *.'
        )
    return tuple(_TAG.findall(value))


_Lines = Annotated[
    list[str],
    WithJsonSchema({"type": "string", "pattern": rf"^(\*|{_TAG.pattern}(, *{_TAG.pattern})*)$"}),
]
"""The lines of a header with entity tags."""


async def _precondition(
    if_match: Annotated[
        _Lines,
        Header(
            alias="If-Match",
            default_factory=list,
            description='Only if the stored version is one of these, such as `"3"`; `*`: any.',
        ),
    ],
    if_none_match: Annotated[
        _Lines,
        Header(
            alias="If-None-Match",
            default_factory=list,
            description="Only if the stored version is none of these; `*`: if nothing is stored.",
        ),
    ],
) -> Precondition:
    return Precondition(
        _read_tags("If-Match", if_match), _read_tags("If-None-Match", if_none_match)
    )


PreconditionOf = Annotated[Precondition, Depends(_precondition)]
"""A route's parameter of this type is what the request demands of the stored profile."""
