"""Whose preferences a call follows: the arguments for it, and who wins where several are named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from amulet_integrations.decoding.strength import SCALES, Method, applicable_strength
from amulet_integrations.errors import InvalidParamsError, UnknownUserError
from amulet_integrations.profiles.scope import PreferenceScope, merge_contexts

from .unknown_users import how_to_get_store

Source = Literal["call", "config", "scope", "constructor"]


class PreferenceSelection(PreferenceScope):
    """Whose preferences a call follows, and how.

    Attributes:
        method: The method; overrides the profile's and the constructor's.
        source: The level that named it; None when nobody is named.

    Raises:
        InvalidParamsError: `method` is not valid, or a strength is given beside a method that
            takes none.
    """

    method: Method | None = None
    source: Source | None = None

    @property
    def owner(self) -> str | None:
        """The user for whom the call works, whether or not the store knows them."""
        return self.profile.user_id if self.profile else self.user_id

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        if self.strength.has_scale and self.method not in {None, "amulet"}:
            name = next(name for name in SCALES if getattr(self, name) is not None)
            raise InvalidParamsError(
                f"{name}= is given with method={self.method!r}, which has a strength of its own. "
                'Leave one of them out, or use method="amulet".'
            )
        return self


def resolve_user(
    call: PreferenceSelection,
    config: PreferenceSelection | None = None,
    scope: PreferenceScope | None = None,
    default: PreferenceSelection | None = None,
    *,
    searchable: bool,
    missing: Path | None = None,
) -> PreferenceSelection:
    """Decides whose preferences a call follows. Reads no store.

    The first level that names somebody wins: the call, the framework's config, the surrounding
    `preference_scope`, the constructor. Their contexts and strengths are merged; where two levels
    set the same name, the first one counts. Levels that name another user are ignored. Only the
    constructor's context is part of every call, whomever it names. Call this when the public
    method is called, because scopes end.

    Args:
        call: The call's own arguments.
        config: The user and the context in LangChain's ``config["configurable"]``.
        scope: The surrounding scope, from `current_scope`.
        default: The constructor's selection, for calls that name nobody.
        searchable: Whether there is a store to look users up in.
        missing: The default database, if it would be searched and does not exist.

    Raises:
        UnknownUserError: A user is named and there is no store.
    """
    nobody = PreferenceSelection()
    default = default or nobody
    levels: dict[Source, PreferenceSelection] = {
        "call": call,
        "config": config or nobody,
        "scope": PreferenceSelection(**dict(scope)) if scope else nobody,
        "constructor": default,
    }
    source = next((source for source, level in levels.items() if level.is_set), None)
    selected = levels[source] if source else nobody
    if selected.user_id is not None and not searchable:
        raise UnknownUserError(
            f"user_id={selected.user_id!r} is named ({source}), but there is no place to look the "
            "user up. Name a preference= or profile= instead. "
            f"{how_to_get_store(selected.user_id, missing)}"
        )
    context, strength = merge_contexts(selected, levels.values())
    return selected.model_copy(
        update={
            "source": source,
            "method": call.method,
            "preference_context": context.over(default.preference_context),
            **dict(applicable_strength(call.method, strength)),
        }
    )
