"""Whose preferences a `RunnableConfig` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from amulet_integrations.whose import Whose


def whose_of(config: RunnableConfig | None, *, searchable: bool = True) -> Whose:
    """The user and the context in ``config["configurable"]``.

    Without a config of its own a call has the one of the chain or graph node around it.

    Args:
        config: The config of the call.
        searchable: Whether there is a store to look users up in. Frameworks put user ids into
            their configs for reasons of their own; without a store they name nobody here.

    Raises:
        InvalidProfileError: What stands there is no user id, or no context.
    """
    return whose_in(ensure_config(config), searchable=searchable)


def whose_in(config: Mapping[str, Any] | None, *, searchable: bool = True) -> Whose:
    """As `whose_of`, of this config alone."""
    configurable = (config or {}).get("configurable") or {}
    names = ("user_id", "preference_context") if searchable else ("preference_context",)
    return Whose(**{it: configurable[it] for it in names if configurable.get(it) is not None})
