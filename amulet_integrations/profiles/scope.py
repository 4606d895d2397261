"""Whose preferences hold in a block of code, for callers that cannot pass them as arguments."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile


@dataclass(frozen=True)
class PreferenceScope:
    """Whose preferences hold; exactly one of the three is not None.

    Attributes:
        user_id: A user whose profile a store holds.
        preference: One preference, of nobody in particular.
        profile: A whole profile.
    """

    user_id: str | None = None
    preference: Preference | None = None
    profile: PreferenceProfile | None = None


# The scopes entered and not yet left, outermost first. Every task and thread has its own value.
_scopes: ContextVar[tuple[PreferenceScope, ...]] = ContextVar(
    "amulet_preference_scopes", default=()
)


def preference_scope(
    *,
    user_id: str | None = None,
    preference: str | Preference | None = None,
    profile: PreferenceProfile | None = None,
) -> AbstractContextManager[PreferenceScope]:
    """Says whose preferences hold inside a ``with`` block.

    It is a context variable: it reaches what is called inside the block, awaited there, or
    started there as an asyncio task, and no other task or thread. The innermost block counts. No
    store is read here.

        with preference_scope(user_id="ann"):
            query_engine.query("What is new?")

    Args:
        user_id: A user whose profile the model's store holds.
        preference: One preference; a string stands for a preference of that text.
        profile: A whole profile.

    Returns:
        A context manager that gives the scope.

    Raises:
        PreferenceSelectionError: Not exactly one of the three is given, or one of a wrong type.
        InvalidProfileError: The user id or the text of the preference is not valid.
    """
    choices = {"user_id": user_id, "preference": preference, "profile": profile}
    given = [name for name, value in choices.items() if value is not None]
    if len(given) != 1:
        raise PreferenceSelectionError(
            f"preference_scope got {' and '.join(given) or 'nothing'}; "
            "give exactly one of user_id, preference and profile."
        )
    if isinstance(preference, str):
        preference = Preference(text=preference)
    if user_id is not None:
        checked_label("user_id", user_id)
    _check_type("preference", preference, Preference, "a string or a Preference")
    _check_type("profile", profile, PreferenceProfile, "a PreferenceProfile")
    return _Block(PreferenceScope(user_id, preference, profile))


def current_scope() -> PreferenceScope | None:
    """Returns the innermost `preference_scope` around the caller, or None outside of all."""
    scopes = _scopes.get()
    return scopes[-1] if scopes else None


class _Block(AbstractContextManager[PreferenceScope]):
    """Puts its scope on the stack, and takes it off again wherever it is then.

    A block may be left in another context than the one it was entered in (an async generator that
    the event loop closes), or before a block inside it (two generators in turns). So leaving
    takes away this scope and nothing else, where a `ContextVar.reset` would raise or bring back
    somebody else's.
    """

    def __init__(self, scope: PreferenceScope) -> None:
        self._scope = scope

    def __enter__(self) -> PreferenceScope:
        _scopes.set((*_scopes.get(), self._scope))
        return self._scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scopes = _scopes.get()
        for place in reversed(range(len(scopes))):
            if scopes[place] is self._scope:
                _scopes.set(scopes[:place] + scopes[place + 1 :])
                return


def _check_type(name: str, value: object, kind: type, expected: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {expected}.")
