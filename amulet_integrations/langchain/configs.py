"""Whose preferences a `RunnableConfig` asks for, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from amulet_integrations.client import without_unset
from amulet_integrations.personalization.selection import PreferenceSelection

# Not `params`, a name under which applications keep what they like.
_ALWAYS = ("preference_context", "guidance_scale", "preset", "max_kl")


def selection_of(config: RunnableConfig | None, *, searchable: bool = True) -> PreferenceSelection:
    """The user, the context and the strength in ``config["configurable"]``.

    Without a config of its own a call has the one of the chain or graph node around it.

    Args:
        config: The config of the call.
        searchable: Whether there is a store to look users up in. Frameworks put user ids into
            their configs for reasons of their own; without a store they name nobody here.

    Raises:
        InvalidProfileError: What stands there is no user id, or no context.
    """
    return selection_in(ensure_config(config), searchable=searchable)


def selection_in(
    config: Mapping[str, Any] | None, *, searchable: bool = True
) -> PreferenceSelection:
    """As `selection_of`, of this config alone."""
    configurable = (config or {}).get("configurable") or {}
    names = (*_ALWAYS, *(("user_id",) if searchable else ()))
    return PreferenceSelection(
        **without_unset({it: configurable[it] for it in names if it in configurable})
    )
