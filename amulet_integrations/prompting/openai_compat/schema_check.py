"""Whether schemas can be followed, found out when they are given, within the time of the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.user_turns import UserTurns
from amulet_integrations.errors import UnsupportedGrammarError, errors_at
from amulet_integrations.prompting.json_schema.finished_values import check_can_be_checked
from amulet_integrations.prompting.json_schema.schema_to_grammar import enforced_schema
from amulet_integrations.prompting.json_schema.size import check_size

_DOING = "while its schemas were read"
# Characters of all schemas of a call that are read within 50 ms, whatever is in them. A schema of
# ten times as many may take a second.
_QUICK_SIZE = 256
_LARGE_SIZE = 4096  # of a schema; such are read one at a time

_turns = UserTurns()


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

    def run(self, deadline: Deadline | None = None, user_id: str | None = None) -> None:
        """Refuses a schema that can be neither enforced nor checked.

        Large ones are read one at a time, so that Python has time for the other threads. Users take
        turns.

        Args:
            deadline: Until when to begin.
            user_id: The user whose call it is; None for nobody in particular.

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
        with _turns.take(partial(deadline.check, _DOING), user_id):
            self._run()

    def _run(self) -> None:
        with errors_at("tools" if self.of_tool else "response_format"):
            self._check()

    def _check(self) -> None:
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


def run_quick(checks: Sequence[SchemaCheck]) -> tuple[SchemaCheck, ...]:
    """Runs checks, unless together they would hold up an event loop or a deadline.

    Args:
        checks: The checks.

    Returns:
        The checks that are left: all or none.

    Raises:
        UnsupportedGrammarError: As `SchemaCheck.run`; of those that are left, one is too large.
    """
    if sum(check.size for check in checks) > _QUICK_SIZE:
        return tuple(checks)
    for check in checks:
        check.run()
    return ()
