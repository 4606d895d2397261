"""Namespaces of a LangGraph store with the user in them, such as memories/{user_id}."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import InvalidProfileError

DEFAULT_NAMESPACE = ("memories", "{user_id}")

_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class NamespaceTemplate:
    """A namespace in which one part names the user.

    Attributes:
        parts: The parts; exactly one has a placeholder in braces, such as "{langgraph_user_id}".
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, given: str | Sequence[str]) -> NamespaceTemplate:
        """Reads a template: its parts, or a string with "/" between them.

        Raises:
            InvalidProfileError: No part, or more than one, has a placeholder.
        """
        parts = given.split("/") if isinstance(given, str) else given
        good = isinstance(parts, list | tuple) and all(isinstance(it, str) and it for it in parts)
        if good and sum(len(_PLACEHOLDER.findall(it)) for it in parts) == 1:
            return cls(tuple(parts))
        raise InvalidProfileError(
            f"namespace={given!r:.120} does not say where the user stands; give its parts with one "
            'placeholder, such as ("memories", "{user_id}").'
        )

    @property
    def prefix(self) -> tuple[str, ...]:
        """The parts before the one with the user."""
        return self.parts[: self._place]

    @property
    def origin(self) -> str:
        """What the names of preferences from such a namespace begin with."""
        fixed = (_PLACEHOLDER.sub("", it) for it in self.parts)
        return "langmem:" + "/".join(filter(None, fixed))

    def user_of(self, namespace: Sequence[str]) -> str | None:
        """The user whose namespace it is; None for a namespace of another form."""
        if len(namespace) != len(self.parts):
            return None
        for place, (part, wanted) in enumerate(zip(namespace, self.parts, strict=True)):
            if place != self._place and part != wanted:
                return None
        match = self._pattern.fullmatch(namespace[self._place])
        return match[1] if match else None

    def __str__(self) -> str:
        return "/".join(self.parts)

    @cached_property
    def _place(self) -> int:
        return next(i for i, it in enumerate(self.parts) if _PLACEHOLDER.search(it))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before, after = _PLACEHOLDER.split(self.parts[self._place])
        return re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)
