"""An operator's function that says who may build on whose profile."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from amulet_integrations.errors import AmuletError, InvalidParamsError, ProfileLimitError

ParentRule = Callable[[str, str], bool]
"""Whether a user (the first id) may build on a profile (the second id)."""


def checked_rule(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Refuses a rule whose result is no answer, but has to be awaited or read.

    Raises:
        InvalidParamsError: It is an `async` function, or a generator.
    """
    function = rule
    while isinstance(function, partial):
        function = function.func
    kinds = (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    if any(is_kind(it) for is_kind in kinds for it in (function, type(function).__call__)):
        raise InvalidParamsError(
            f"parents={_name_of(rule)} is an async function or a generator; give a plain function "
            "of a user's id and a parent's id that returns True or False."
        )
    return rule


def ask_rule(rule: ParentRule, user_id: str, parent: str) -> bool:
    """Whether a rule allows a user to build on a profile. What is no clear yes is refused.

    Raises:
        ProfileLimitError: The rule raises an error, or returns neither True nor False.
    """
    refusal = (
        f"parent={parent!r} of {user_id!r} is not allowed: the function "
        f"ProfileLimits(parents={_name_of(rule)})"
    )
    try:
        allowed: object = rule(user_id, parent)
    except AmuletError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise ProfileLimitError(
            f"{refusal} failed: {type(error).__name__}. Whoever runs the application can mend it."
        ) from error
    if isinstance(allowed, bool):
        return allowed
    if inspect.iscoroutine(allowed):
        allowed.close()  # else Python warns that it was never awaited
    raise ProfileLimitError(
        f"{refusal} returned a {type(allowed).__name__}; whoever runs the application can make it "
        "return True or False."
    )


def _name_of(rule: object) -> str:
    return getattr(rule, "__qualname__", type(rule).__name__)
