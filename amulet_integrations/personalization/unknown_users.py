"""What happens when a user cannot be found, or nobody is named: an error, a warning, or nothing."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Literal

from amulet_integrations.caller_warnings import warn_caller
from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.errors import (
    AmuletError,
    AmuletWarning,
    UnknownArgumentError,
    UnknownKeyWarning,
    UnknownUserError,
    UnknownUserWarning,
)
from amulet_integrations.profiles import ProfileStore
from amulet_integrations.profiles.stores.description import (
    describe_store,
    how_to_make_profile,
    profile_command,
)

UnknownUserRule = Literal["error", "warn", "plain"]
"""What happens: an error, a warning once for each user and place, or nothing."""

MOST_REMEMBERED = 10_000
"""Reports that are remembered, in order not to be repeated; the oldest are forgotten first."""

_CONSEQUENCE = (
    ' (Until then it has no effect. unknown_user="error" refuses such calls; with "plain" there is '
    "no warning.)"
)

_NOBODY = ("nobody",)  # one name, where other reports have two
_NOBODY_NAMED = (
    "This call names no user, although there are profiles. Chains, graphs, agents and query "
    "engines drop user_id=: name the user in LangChain's config, "
    '{"configurable": {"user_id": ...}}, or around the call, with preference_scope(user_id=...). '
    "Where nobody is meant, pass user_id=None, or use plain()."
)
_NOBODY_FOLLOWED = (
    ' (The answer follows nobody\'s preferences. This is said once; unknown_user="error" refuses '
    'such calls; with "plain" there is no warning.)'
)


class UnknownUsers:
    """Reports who or what is not found, by a rule. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._reported: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def __reduce__(self) -> tuple[type[UnknownUsers], tuple[()]]:
        # Another process makes its own.
        return UnknownUsers, ()

    def report_user(self, rule: UnknownUserRule, user_id: str, store: ProfileStore) -> None:
        """Reports a user who is not in a store.

        Raises:
            UnknownUserError: The rule is "error".
        """
        place = describe_store(store)
        error = UnknownUserError(
            f"user_id={user_id!r} has no profile in {place}. "
            f"Make one: {how_to_make_profile(store, user_id)}"
        )
        self._report(rule, error, UnknownUserWarning, (user_id, place))

    def report_config_user(self, rule: UnknownUserRule, user_id: str, missing: Path | None) -> None:
        """Reports a user in a config where there is no store.

        Args:
            rule: The rule.
            user_id: The user.
            missing: See `how_to_get_store`.

        Raises:
            UnknownUserError: The rule is "error".
        """
        error = UnknownUserError(
            f"The config names user_id={user_id!r}, but there is no place to look the user up. "
            f"{how_to_get_store(user_id, missing)}"
        )
        self._report(rule, error, UnknownUserWarning, (user_id, ""))

    def report_nobody(self, rule: UnknownUserRule) -> None:
        """Reports a call that names nobody although there are profiles.

        Raises:
            UnknownUserError: The rule is "error".
        """
        error = UnknownUserError(_NOBODY_NAMED)
        self._report(rule, error, UnknownUserWarning, _NOBODY, _NOBODY_FOLLOWED)

    def report_key(self, rule: UnknownUserRule, key: str, message: str) -> None:
        """Reports a key of a config that looks like one that is read.

        Args:
            rule: The rule.
            key: The key.
            message: The message of the error or warning.

        Raises:
            UnknownArgumentError: The rule is "error".
        """
        self._report(rule, UnknownArgumentError(message), UnknownKeyWarning, (key,))

    def _report(
        self,
        rule: UnknownUserRule,
        error: AmuletError,
        warning: type[AmuletWarning],
        about: tuple[str, ...],
        consequence: str = _CONSEQUENCE,
    ) -> None:
        if rule == "error":
            raise error
        if rule == "warn" and self._is_first(about):
            warn_caller(f"{error}{consequence}", warning)

    def _is_first(self, about: tuple[str, ...]) -> bool:
        with self._lock:
            is_first = about not in self._reported
            self._reported[about] = None
            self._reported.move_to_end(about)
            if len(self._reported) > MOST_REMEMBERED:
                self._reported.popitem(last=False)
            return is_first


def how_to_get_store(user_id: str, missing: Path | None) -> str:
    """What to do where a user is named and there is no store.

    Args:
        user_id: The user.
        missing: The default database, if it would be used and does not exist.
    """
    remedy = "Pass profiles=, a store or a database URL."
    if missing is not None:
        remedy += f" Or make the default database, {missing}: {profile_command(user_id)}"
    return remedy
