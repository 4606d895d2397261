"""The operator's function that may refuse or rewrite what users prefer."""

from __future__ import annotations

import inspect
import logging
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.profiles import Preference

from .api_errors import ApiError

logger = logging.getLogger(__name__)

CheckFunction = Callable[[str | None, str], str]
"""Called with the user's id (or None) and a preference's text; returns the text to use."""


@dataclass(frozen=True)
class PreferenceCheck:
    """The check of the setting `preference_check`.

    Attributes:
        name: "module:function".
        function: The function. A `ValueError` that it raises refuses the preference, and the
            client sees its message.
    """

    name: str
    function: CheckFunction

    @classmethod
    def of(cls, check: PreferenceCheck | CheckFunction | str) -> PreferenceCheck:
        """A check by its function, or by the name of it.

        Raises:
            InvalidParamsError: It cannot be imported, or is no plain function.
        """
        if isinstance(check, PreferenceCheck):
            return check
        if isinstance(check, str):
            return cls.load(check)
        name = f"{getattr(check, '__module__', '')}:{getattr(check, '__qualname__', repr(check))}"
        return cls(name, _usable(name, check))

    @classmethod
    def load(cls, name: str) -> PreferenceCheck:
        """Imports the function.

        Args:
            name: "module:function".

        Raises:
            InvalidParamsError: It cannot be imported, or is no plain function.
        """
        module, _, attribute = name.partition(":")
        if not (module and attribute):
            raise _unusable(name, "it has not this form")
        try:
            function = pkgutil.resolve_name(name)
        except Exception as error:  # the module may raise anything
            raise _unusable(name, f"{type(error).__name__}: {error}") from error
        return cls(name, _usable(name, function))

    def check(
        self, user_id: str | None, preferences: Iterable[Preference]
    ) -> tuple[Preference, ...]:
        """The preferences as they may be used. It may block, so call it on a thread.

        Args:
            user_id: Whose preferences they are; None for nobody in particular.
            preferences: The preferences.

        Raises:
            ApiError: 400, one is refused; 500, the check itself fails.
        """
        return tuple(self._checked(user_id, it) for it in preferences)

    def _checked(self, user_id: str | None, preference: Preference) -> Preference:
        try:
            text: object = self.function(user_id, preference.text)
        except ValueError as error:
            reason = str(error) or "This preference is not allowed here."
            raise ApiError(400, reason, code="preference_refused", param="preferences") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything
            raise self._failed(f"it raised {type(error).__name__}{_where(error)}") from None
        if text == preference.text:
            return preference
        try:
            return preference.model_copy(update={"text": text})
        except AmuletError as error:
            raise self._failed(f"what it returned is no preference: {error}") from None

    def _failed(self, why: str) -> ApiError:
        # Neither the log nor the client sees a message of the function: it may quote the text.
        logger.error("The preference check %s failed: %s", self.name, why)
        return ApiError(
            500,
            "The check of preferences on this server failed, so nothing was done. Whoever runs the "
            "server finds the cause in its log.",
            kind="server_error",
            code="preference_check_failed",
        )


def _usable(name: str, function: Any) -> CheckFunction:
    if not callable(function):
        raise _unusable(name, f"it is a {type(function).__name__}")
    if any(map(_has_to_be_awaited, (function, type(function).__call__))):
        raise _unusable(name, "it is an async function or a generator")
    return cast("CheckFunction", function)


def _unusable(name: str, why: str) -> InvalidParamsError:
    return InvalidParamsError(
        f"preference_check={name!r:.200} cannot be used: {why}. Give module:function, a function "
        "of a user's id and a preference's text that returns the text, in a module that Python "
        "finds (PYTHONPATH)."
    )


def _has_to_be_awaited(function: Any) -> bool:
    kinds = (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    return any(is_kind(function) for is_kind in kinds)


def _where(error: BaseException) -> str:
    """The place in the code at which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
