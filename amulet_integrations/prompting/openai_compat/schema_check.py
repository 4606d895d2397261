"""Whether schemas can be followed, found out when they are given, and off the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amulet_integrations.deadline import Deadline
from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.finished_values import check_can_be_checked
from amulet_integrations.prompting.json_schema.schema_to_grammar import enforced_schema
from amulet_integrations.prompting.json_schema.size import check_size

_DOING = "while its schemas were read"
# Characters of all schemas of a call that are read within 50 ms, whatever is in them. A schema of
# ten times as many may take a second.
_QUICK_SIZE = 256
_LARGE_SIZE = 4096  # of a schema; such are read one at a time

_one_at_a_time = threading.Lock()


def _reset_in_child() -> None:
    """A forked child may inherit the lock while a thread that it does not have holds it."""
    global _one_at_a_time  # noqa: PLW0603 - one for the process is the point
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


@dataclass(frozen=True)
class SchemaCheck:
    """Whether a schema can be enforced while decoding, or checked; found out without a model.

    Attributes:
        what: What the schema describes, for the message.
        schema: Any JSON schema.
        of_tool: Whether it describes the arguments of a tool.
        strict: Whether all of it has to be enforced while decoding.
    """

    what: str
    schema: Mapping[str, Any]
    of_tool: bool = False
    strict: bool = False

    @property
    def size(self) -> int:
        """The size of the schema, in characters.

        Raises:
            UnsupportedGrammarError: It is too large.
        """
        return check_size(f"of {self.what}", self.schema)

    def run(self, deadline: Deadline | None = None) -> None:
        """Refuses a schema that can be neither enforced nor checked.

        Large ones are read one at a time, so that Python has time for the other threads.

        Args:
            deadline: Until when to begin.

        Raises:
            RequestCancelledError: The request was cancelled.
            RequestTimeoutError: The deadline has passed.
            UnsupportedGrammarError: The message names the part and its place.
        """
        if deadline is None:
            self._run()
            return
        deadline.check(_DOING)
        if self.size <= _LARGE_SIZE:
            self._run()
            return
        with deadline.holding(_one_at_a_time, _DOING):
            self._run()

    def _run(self) -> None:
        what = self.what
        try:
            enforced = enforced_schema(self.schema, of_arguments=self.of_tool)
            if enforced.unenforced:
                check_can_be_checked(self.schema)
        except UnsupportedGrammarError as unsupported:
            message = str(unsupported).replace("The schema", f"The schema of {what}", 1)
            raise UnsupportedGrammarError(message) from None
        if enforced.error:
            raise UnsupportedGrammarError(
                f"The schema of {what} cannot be enforced while decoding: {enforced.error}. "
                "Leave that part out of the schema and check it afterwards."
            )
        if self.strict and enforced.unenforced:
            first = enforced.unenforced[0]
            raise UnsupportedGrammarError(
                f"The schema of {what} has {first}, which cannot be enforced while decoding, as "
                f"strict=True asks. {first.remedy}. Or leave strict out; then the finished value "
                "is checked for it."
            )


def run_quick(
    checks: Sequence[SchemaCheck], *, on_loop: int = _QUICK_SIZE
) -> tuple[SchemaCheck, ...]:
    """Runs checks, unless together they would hold up an event loop.

    Args:
        checks: The checks.
        on_loop: Most characters of their schemas together, on an event loop.

    Returns:
        The checks that are left to a thread: all or none.

    Raises:
        UnsupportedGrammarError: As `SchemaCheck.run`.
    """
    size = sum(check.size for check in checks)
    if size > on_loop and _on_event_loop():
        return tuple(checks)
    for check in checks:
        check.run()
    return ()


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
