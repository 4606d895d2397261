"""Agents that answer each user as that user likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import ensure_config
from langchain_core.runnables.configurable import DynamicRunnable
from pydantic import model_serializer

from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.langchain.agents.profile_access import aread_profile, read_profile
from amulet_integrations.langchain.agents.remembering import tools_for
from amulet_integrations.langchain.agents.runtime_user import RuntimeUsers, UserRule, config_user
from amulet_integrations.langchain.chat_model import ChatAmulet
from amulet_integrations.profiles import PreferenceProfile, ProfileStore

_NAMES = ("preference", "profile", "user_id")
"""The arguments of a call that name somebody."""

Answer = ModelResponse[Any]
Request = ModelRequest[Any]


class PreferenceMiddleware(AgentMiddleware[Any, Any, Any]):
    """Applies to every model call of an agent the preferences of the user whose run it is.

        agent = create_agent(
            ChatAmulet(), tools, middleware=[PreferenceMiddleware()], context_schema=Context,
            store=InMemoryStore(),
        )
        agent.invoke({"messages": [...]}, context=Context(user_id="ann"))

    The first of these that names somebody wins: the call (settings that another middleware has
    put into the request, arguments bound to the model) or `ChatAmulet.for_user`; the config,
    ``{"configurable": {"user_id": ...}}``; the runtime context; the surrounding
    `preference_scope`; the model's constructor. The profile is read anew for each model call, so a
    change holds from the next one on. Where a store fails the run does, too.

    It brings two tools, `remember_preference` and `forget_preference`, by which users change their
    own profiles: whose it is comes from config, context or scope and never from the model. A text
    that gets into the conversation (a web page, a document) may still talk a model into calling
    them; where that matters, switch them off or have people approve the calls. They are not shown
    to the model where there is no store for them, and where the call names another user.

    Args:
        profiles: The store of profiles, a database URL or the path of an SQLite file. None for
            the graph's own store (through `LangGraphProfileStore`), and where the graph has none,
            the `profiles` of the `ChatAmulet`.
        user_id: The attribute or key of the runtime context that holds the user's id, or a
            function that takes the context and returns the id.
        tools: Whether to bring the two tools.

    Raises:
        ProfileStoreError: `profiles` cannot be opened.
        PreferenceSelectionError: `user_id` is neither a name nor a function.
    """

    def __init__(
        self,
        profiles: ProfileStore | str | Path | None = None,
        *,
        user_id: UserRule = "user_id",
        tools: bool = True,
    ) -> None:
        super().__init__()
        self._users = RuntimeUsers(user_id, profiles)
        self.tools = tools_for(self._users) if tools else []

    def wrap_model_call(self, request: Request, handler: Callable[[Request], Answer]) -> Answer:
        """Hands the user's profile to the model; a store is read first.

        Raises:
            PreferenceSelectionError: The model is no `ChatAmulet`, or the user of the runtime
                context cannot be looked up anywhere.
            ProfileError: The store fails, or what it holds is not a profile.
        """
        plan = self._plan(request)
        if plan.look_up is None:
            return handler(plan.request)
        return handler(plan.with_profile(read_profile(*plan.look_up)))

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Answer]]
    ) -> Answer:
        """As `wrap_model_call`, without blocking the event loop."""
        plan = self._plan(request)
        if plan.look_up is None:
            return await handler(plan.request)
        return await handler(plan.with_profile(await aread_profile(*plan.look_up)))

    def _plan(self, request: Request) -> _Plan:
        """Settles whose profile is wanted, and where it is; reads no store."""
        models = list(_models_of(request.model))
        settings = {**_bound_names(request.model), **request.model_settings}
        user_id, store = self._users.named(request.runtime), self._users.store(request.runtime)
        called = _named_by_call(models, settings)
        if store is None or (called and called != {user_id}):
            request = self._without_tools(request)
        if called:
            return _Plan(request.override(model_settings=settings))
        if store is not None:
            return _Plan(request, None if user_id is None else (store, user_id))
        # Config and scope reach the model by themselves; the context does not.
        searchable = all(model.profiles is not None for model in models)
        in_context = self._users.context_user(request.runtime)
        if in_context and not (searchable and config_user(request.runtime)):
            settings["user_id"] = in_context
        return _Plan(request.override(model_settings=settings))

    def _without_tools(self, request: Request) -> Request:
        ours = {id(tool) for tool in self.tools}
        return request.override(tools=[tool for tool in request.tools if id(tool) not in ours])


@dataclass(frozen=True)
class _Plan:
    """A request, and where to read the profile that still has to be put into it, if any."""

    request: Request
    look_up: tuple[ProfileStore, str] | None = None

    def with_profile(self, profile: PreferenceProfile) -> Request:
        settings = {**self.request.model_settings, "profile": _DiscreetProfile.of(profile)}
        return self.request.override(model_settings=settings)


class _DiscreetProfile(PreferenceProfile):
    """A profile that serialises without its preferences: tracers write down whole requests."""

    @classmethod
    def of(cls, profile: PreferenceProfile) -> PreferenceProfile:
        return cls(**{name: getattr(profile, name) for name in profile.model_fields_set})

    @model_serializer
    def _told(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "version": self.version}


def _models_of(model: Runnable[Any, Any]) -> Iterator[ChatAmulet]:
    """The models that may answer: through bindings, retries, fallbacks and configurable fields.

    Raises:
        PreferenceSelectionError: One of them is no `ChatAmulet`.
    """
    if isinstance(model, ChatAmulet):
        yield model
    elif isinstance(model, RunnableBindingBase):
        yield from _models_of(model.bound)
    elif isinstance(model, DynamicRunnable):
        yield from _models_of(model.prepare(ensure_config())[0])
    elif isinstance(model, RunnableWithFallbacks):
        for one in model.runnables:
            yield from _models_of(one)
    else:
        raise PreferenceSelectionError(
            f"PreferenceMiddleware was given a {type(model).__name__} to answer, which knows no "
            "preferences. Use ChatAmulet for the agent's model and for each of its fallbacks."
        )


def _bound_names(model: Runnable[Any, Any]) -> dict[str, Any]:
    """Names that were bound to the model, which binding tools to it would lose."""
    if not isinstance(model, RunnableBindingBase):
        return {}
    bound = {name: model.kwargs[name] for name in _NAMES if name in model.kwargs}
    return {**_bound_names(model.bound), **bound}


def _named_by_call(models: list[ChatAmulet], settings: Mapping[str, Any]) -> set[str | None]:
    """The users named by the call or by `for_user`, None standing for a preference of nobody's."""
    given = {name: settings[name] for name in _NAMES if settings.get(name) is not None}
    if given:
        return {given.get("user_id") or getattr(given.get("profile"), "user_id", None)}
    return {model.user_id for model in models if model.pinned}
