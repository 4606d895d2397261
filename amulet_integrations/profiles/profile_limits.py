"""What one user may cost, and whose profiles others may build on: for the operator to say."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_serializer, field_validator, model_validator

from amulet_integrations.errors import AmuletError, InvalidParamsError, ProfileLimitError
from amulet_integrations.validation import FrozenModel

from .active import group_preferences
from .field_types import TEXT_LIMIT_VARIABLE, Label, longest_text
from .parent_rule import ParentRule, ask_rule, checked_rule
from .preference import Preference
from .profile import PreferenceProfile

PARENTS_VARIABLE = "AMULET_PROFILE_PARENTS"
"""The environment variable with the ids of profiles that may be parents, between commas."""

VARIABLES = {
    "max_preferences": "AMULET_MAX_PREFERENCES",
    "max_active_preferences": "AMULET_MAX_ACTIVE_PREFERENCES",
    "max_contexts": "AMULET_MAX_CONTEXTS",
    "max_preference_chars": TEXT_LIMIT_VARIABLE,
    "max_preference_tokens": "AMULET_MAX_PREFERENCE_TOKENS",
    "parents": PARENTS_VARIABLE,
}
"""The environment variables that set the limits which are not given."""

Limit = Annotated[int, Field(strict=True, ge=1)]


class ProfileLimits(FrozenModel):
    """Bounds on what one user may cost, and the profiles that others may build on.

    They are the operator's to set: on the wrappers, as `profile_limits`, and on the stores, as
    `limits`. An environment variable sets each one that is not given. What exceeds a limit is
    refused with a `ProfileLimitError`; nothing is cut off or left out.

    A profile that is stored above a limit, because the limit was raised before or another program
    has written it, can be read, and can be saved with no more than it had. A call that would
    exceed a limit is refused until the profile is smaller.

        limits = ProfileLimits(max_active_preferences=16, parents={"organisation"})
        llm = ChatAmulet(profiles="profiles.db", profile_limits=limits)

    Attributes:
        max_preferences: Most preferences of a stored profile (AMULET_MAX_PREFERENCES).
        max_active_preferences: Most preferences that are active in a call, those of parents
            included (AMULET_MAX_ACTIVE_PREFERENCES).
        max_contexts: Most contexts of a call (AMULET_MAX_CONTEXTS): the plain one, and those with
            preferences. Preferences of weight 1 share a context; if any weight differs, each has
            its own. The engine decodes all contexts at once, so keep this below its `max_rows`.
        max_preference_chars: Most characters of a preference. The default is what
            AMULET_MAX_PREFERENCE_CHARS says, or else 2,000; no preference can have more.
        max_preference_tokens: Most tokens of all preferences that are active in a call
            (AMULET_MAX_PREFERENCE_TOKENS).
        parents: The ids of the profiles that may be named as a `parent`, or a function of a user's
            id and a parent's id that returns True or False (no `async` one). Whoever builds on a
            profile learns the names of its preferences, so nobody's may be by default.
            AMULET_PROFILE_PARENTS has ids between commas.

    Raises:
        InvalidParamsError: A limit is no whole number of at least 1, or `parents` is neither ids
            nor a function, or it is an `async` function.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    max_preferences: Limit = 64
    max_active_preferences: Limit = 64
    max_contexts: Limit = 9
    max_preference_chars: Limit = Field(default_factory=longest_text)
    max_preference_tokens: Limit = 4096
    parents: frozenset[Label] | ParentRule = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _read_environment(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        unset = {name: variable for name, variable in VARIABLES.items() if name not in given}
        values = {name: os.environ.get(it, "").strip() for name, it in unset.items()}
        read = {name: _read_variable(name, value) for name, value in values.items() if value}
        return {**read, **given}

    @field_validator("parents", mode="before")
    @classmethod
    def _read_parents(cls, parents: Any) -> Any:
        if callable(parents):
            return checked_rule(parents)
        if isinstance(parents, frozenset | set | list | tuple):
            return frozenset(_hashable(parents))
        raise InvalidParamsError(
            f"parents is a {type(parents).__name__}; give a set of user ids, such as "
            "{\"organisation\"}, or a function of a user's id and a parent's id."
        )

    @field_validator("max_preference_chars")
    @classmethod
    def _check_chars(cls, limit: int) -> int:
        if limit > (longest := longest_text()):
            raise InvalidParamsError(
                f"max_preference_chars={limit:,} is above {longest:,}, which no preference can "
                f"exceed. Set the environment variable {TEXT_LIMIT_VARIABLE}={limit} too."
            )
        return limit

    @field_serializer("parents")
    def _write_parents(self, parents: frozenset[str] | ParentRule) -> Any:
        # A name in place of a function is refused when it is read.
        if callable(parents):
            return getattr(parents, "__qualname__", repr(parents))
        return sorted(parents)

    def check_parent(self, user_id: str, parent: str) -> None:
        """Checks that a user may build on a profile.

        Raises:
            ProfileLimitError: The operator has not allowed it, or the rule fails.
        """
        rule = self.parents
        if ask_rule(rule, user_id, parent) if callable(rule) else parent in rule:
            return
        raise ProfileLimitError(
            f"parent={parent!r} of {user_id!r} is not allowed: whoever runs the application says "
            f"which profiles others may build on, by ProfileLimits(parents={{{parent!r}}}) or "
            f"{PARENTS_VARIABLE}. Without that, save the profile with parent=None."
        )

    def check_saved(
        self,
        profile: PreferenceProfile,
        read_earlier: Callable[[], PreferenceProfile | None] = lambda: None,
    ) -> None:
        """Checks the preferences of a profile that is about to be stored, or is given to a call.

        Preferences that always apply must be within the limits of a call too, because no call of
        the user could be answered otherwise.

        Args:
            profile: The profile.
            read_earlier: Reads the profile that it replaces, if that matters: what exceeded a
                limit before may go on to do so, but not by more.

        Raises:
            ProfileLimitError: The profile exceeds a limit.
        """
        excess = self._excess(profile, None)
        if excess is not None and (earlier := read_earlier()) is not None:
            excess = self._excess(profile, earlier)
        if excess is not None:
            raise ProfileLimitError(excess)

    def check_count(self, user_id: object, preferences: object) -> None:
        """Checks how many preferences a profile has that is not read yet.

        Args:
            user_id: Its user, as given.
            preferences: Its preferences, as given; what is no list is left to whoever reads it.

        Raises:
            ProfileLimitError: They are too many.
        """
        count = len(preferences) if isinstance(preferences, list | tuple) else 0
        if count > self.max_preferences:
            owner = f"The profile of {user_id!r:.80} has"
            message = self._message(owner, "preferences", "max_preferences", count)
            raise ProfileLimitError(message, param="preferences")

    def check_texts(self, preferences: Iterable[Preference]) -> None:
        """Checks the lengths of preferences that are given to a call.

        Raises:
            ProfileLimitError: One has too many characters.
        """
        longest = max((len(it.text) for it in preferences), default=0)
        if longest > self.max_preference_chars:
            raise ProfileLimitError(
                self._message("A preference has", "characters", "max_preference_chars", longest)
            )

    def check_active(self, user_id: str | None, preferences: Sequence[Preference]) -> None:
        """Checks the preferences that are active in a call, those of parents included.

        Raises:
            ProfileLimitError: They, or the contexts that they make, are too many.
        """
        owner = "The call has" if user_id is None else f"The call of {user_id!r} has"
        for name, what, count in self._counts(preferences):
            if count > getattr(self, name):
                raise ProfileLimitError(self._message(owner, what, name, count))

    def check_tokens(self, user_id: str | None, tokens: int) -> None:
        """Checks the number of tokens of all preferences that are active in a call.

        Raises:
            ProfileLimitError: They are too many.
        """
        if tokens > self.max_preference_tokens:
            owner = "The active preferences" + (f" of {user_id!r}" if user_id else "") + " have"
            raise ProfileLimitError(self._message(owner, "tokens", "max_preference_tokens", tokens))

    def __getstate__(self) -> dict[Any, Any]:
        if callable(self.parents):
            try:
                pickle.dumps(self.parents)
            except Exception as error:  # whatever a foreign callable raises
                raise InvalidParamsError(
                    f"parents={self.parents!r:.80} cannot be pickled: {error}. Give a set of ids, "
                    "or a function of a module."
                ) from error
        return super().__getstate__()

    def _excess(self, profile: PreferenceProfile, earlier: PreferenceProfile | None) -> str | None:
        """What exceeds a limit, and what was there before; None where nothing does."""
        owner = f"The profile of {profile.user_id!r} has"
        before = earlier.preferences if earlier else ()
        total, allowed = len(profile.preferences), max(self.max_preferences, len(before))
        if total > allowed:
            return self._message(owner, "preferences", "max_preferences", total)
        texts = {it.text for it in before}
        longest = max(
            (len(it.text) for it in profile.preferences if it.text not in texts), default=0
        )
        if longest > self.max_preference_chars:
            return self._message(
                f"{owner} a preference of", "characters", "max_preference_chars", longest
            )
        counts_before = self._counts(_always_active(before))
        counts = self._counts(_always_active(profile.preferences))
        for (name, what, count), (*_, most) in zip(counts, counts_before, strict=True):
            if count > max(getattr(self, name), most):
                return self._message(owner, f"{what} in every call", name, count)
        return None

    @staticmethod
    def _counts(preferences: Sequence[Preference]) -> list[tuple[str, str, int]]:
        contexts = 1 + len(group_preferences(preferences)[0])
        return [
            ("max_active_preferences", "active preferences", len(preferences)),
            ("max_contexts", "contexts (the plain one, and one for each preference)", contexts),
        ]

    def _message(self, owner: str, what: str, name: str, value: int) -> str:
        remedy = {
            "max_contexts": "Use fewer, or give all of them weight 1: they share a context then",
            "max_preference_chars": "Shorten it",
        }.get(name, "Remove some, or shorten them" if what == "tokens" else "Remove some")
        return (
            f"{owner} {value:,} {what}; at most {getattr(self, name):,} are allowed ({name}). "
            f"{remedy}. Whoever runs the application can raise the limit: "
            f"ProfileLimits({name}={value}), or {VARIABLES[name]}={value}."
        )


def limits_of(store: object) -> ProfileLimits:
    """The limits that a store was made with; the defaults for stores that have none."""
    limits = getattr(store, "limits", None)
    if isinstance(limits, ProfileLimits):
        return limits
    return _default_limits(*map(os.environ.get, VARIABLES.values()))


@lru_cache(maxsize=1)
def _default_limits(*_variables: str | None) -> ProfileLimits:
    """The limits that environment variables of these values set; made anew when one changes."""
    return ProfileLimits()


def _always_active(preferences: Iterable[Preference]) -> list[Preference]:
    """The preferences that apply in every call."""
    return [
        it
        for it in preferences
        if it.weight and not it.when and it.valid_from is None and it.valid_until is None
    ]


def _read_variable(name: str, value: str) -> Any:
    if name == "parents":
        return frozenset(part.strip() for part in value.split(",") if part.strip())
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise InvalidParamsError(
        f"The environment variable {VARIABLES[name]}={value[:80]!r} is no whole number above 0."
    )


def _hashable(parents: Iterable[Any]) -> Iterable[Any]:
    for parent in parents:
        if not isinstance(parent, str):
            raise InvalidParamsError(
                f"parents has a {type(parent).__name__} in it; give ids of users."
            )
        yield parent
