"""Tools with which the model changes the profile of the user who asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from amulet_integrations.errors import ProfileLimitError, ProfileStoreError
from amulet_integrations.profiles import PreferenceProfile, ProfileLimits, ProfileStore
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import aupdate_profile, update_profile

from . import tool_texts
from .preference_changes import Change, forget, remember
from .runtime_users import RuntimeUsers, UserRule

_Runtime = ToolRuntime[Any, Any]
_Optional = str | SkipJsonSchema[None]

UNKNOWN_USER = (
    "It is not known who the user is, so nothing was changed. Tell the user politely that "
    "preferences can be kept only for users who are signed in."
)


def preference_tools(
    profiles: ProfileStore | str | Path | None = None,
    *,
    user_id: UserRule = "user_id",
    profile_limits: ProfileLimits | None = None,
) -> list[BaseTool]:
    """The tools `remember_preference` and `forget_preference` over a given store.

    `PreferenceMiddleware` has them already; these are for graphs of your own, with a `ToolNode`.

    Args:
        profiles: The store of profiles, a database URL or the path of an SQLite file; None for
            the graph's own LangGraph store.
        user_id: The attribute or key of the runtime context that holds the user's id, or a
            function that takes the context and returns the id.
        profile_limits: What profiles must not exceed; by default the store's limits.

    Raises:
        ProfileStoreError: `profiles` cannot be opened.
    """
    return tools_for(RuntimeUsers(user_id, profiles, profile_limits=profile_limits))


def tools_for(users: RuntimeUsers) -> list[BaseTool]:
    """The two tools, for the users and the store that `users` finds in their runtime."""
    remember_tool = _tool("remember_preference", tool_texts.REMEMBER, _Remember, remember, users)
    forget_tool = _tool("forget_preference", tool_texts.FORGET, _Forget, forget, users)
    return [remember_tool, forget_tool]


# The model is shown these fields, except for the runtime, which names the user.


class _Arguments(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    runtime: _Runtime


class _Remember(_Arguments):
    preference: str = Field(description=tool_texts.PREFERENCE)
    name: _Optional = Field(default=None, description=tool_texts.NAME)


class _Forget(_Arguments):
    preference: _Optional = Field(default=None, description=tool_texts.FORGOTTEN_PREFERENCE)
    name: _Optional = Field(default=None, description=tool_texts.FORGOTTEN_NAME)


class _RecordedChange:
    """A change that keeps its message. A store may apply it several times; the last one counts."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.message = ""

    def __call__(self, profile: PreferenceProfile) -> PreferenceProfile | None:
        changed, self.message = self._change(profile)
        return changed

    @contextmanager
    def reporting_limits(self) -> Iterator[None]:
        """Makes a message for the model of the error of a limit."""
        try:
            yield
        except ProfileLimitError as error:
            self.message = f"Nothing was remembered: {error}"


def _tool(
    tool: str,
    description: str,
    arguments: type[BaseModel],
    make_change: Callable[[str | None, str | None, ProfileLimits], Change],
    users: RuntimeUsers,
) -> BaseTool:
    def plan(
        runtime: _Runtime, preference: str | None, name: str | None
    ) -> tuple[ProfileStore, ProfileLimits, _RecordedChange]:
        store = _store(users, runtime)
        limits = users.profile_limits or limits_of(store)
        return store, limits, _RecordedChange(make_change(preference, name, limits))

    def call(runtime: _Runtime, preference: str | None = None, name: str | None = None) -> str:
        if (user_id := users.user_of(runtime)) is None:
            return UNKNOWN_USER
        store, limits, change = plan(runtime, preference, name)
        with change.reporting_limits():
            update_profile(store, user_id, change, by=tool, limits=limits)
        return change.message

    async def acall(
        runtime: _Runtime, preference: str | None = None, name: str | None = None
    ) -> str:
        if (user_id := users.user_of(runtime)) is None:
            return UNKNOWN_USER
        store, limits, change = plan(runtime, preference, name)
        with change.reporting_limits():
            await aupdate_profile(store, user_id, change, by=tool, limits=limits)
        return change.message

    return StructuredTool.from_function(
        call, acall, name=tool, description=description, args_schema=arguments
    )


def _store(users: RuntimeUsers, runtime: _Runtime) -> ProfileStore:
    if (store := users.store(runtime)) is not None:
        return store
    raise ProfileStoreError(
        "There is no store to change profiles in. Give one to PreferenceMiddleware(profiles=...) "
        "or preference_tools(profiles=...), or give the graph one: create_agent(..., store=...)."
    )


remember_preference, forget_preference = tools_for(RuntimeUsers())
