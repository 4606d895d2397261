"""Whether schemas can be followed, found out when they are given, and off the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amulet_integrations.deadline import Deadline
from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.finished_values import check_can_be_checked
from amulet_integrations.prompting.json_schema.schema_to_grammar import enforced_schema
from amulet_integrations.prompting.json_schema.size import check_size

_QUICK_SIZE = 1024  # characters of a schema; the worst of this size take about 60 ms to be read

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

    def run_if_quick(self) -> bool:
        """Runs it, unless that would hold up an event loop; returns whether it ran.

        A schema near the largest size takes up to a second.

        Raises:
            UnsupportedGrammarError: As `run`.
        """
        size = check_size(f"of {self.what}", self.schema)
        if size > _QUICK_SIZE and _on_event_loop():
            return False
        self.run()
        return True

    def run(self, deadline: Deadline | None = None) -> None:
        """Refuses a schema that can be neither enforced nor checked.

        Large ones are read one at a time, so that Python has time for the other threads.

        Args:
            deadline: Until when to wait for one's turn.

        Raises:
            RequestCancelledError: The request was cancelled.
            RequestTimeoutError: The deadline has passed.
            UnsupportedGrammarError: The message names the part and its place.
        """
        if deadline is None:
            self._run()
            return
        with deadline.holding(_one_at_a_time, "while its schema was read"):
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


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
