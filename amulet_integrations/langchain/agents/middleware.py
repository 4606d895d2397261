"""Agents that answer each user as that user likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from pydantic import model_serializer

from amulet_integrations.langchain.agents.bound_users import (
    ABOUT,
    Bound,
    agreed,
    models_of,
    names_in,
    user_of,
)
from amulet_integrations.langchain.agents.remembering import tools_for
from amulet_integrations.langchain.agents.runtime_user import (
    ContextRule,
    RuntimeUsers,
    UserRule,
    config_user,
)
from amulet_integrations.profiles import PreferenceProfile, ProfileStore
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.stores.access import aread_whole_profile, read_whole_profile

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
    put into the request, arguments bound to the model) or `ChatAmulet.for_user`; a config bound
    to the model; the run's config, ``{"configurable": {"user_id": ...}}``; the runtime context;
    the surrounding `preference_scope`; the model's constructor. The profile is read anew for each
    model call, so a change holds from the next one on. Where a store fails the run does, too.

    What the middleware hands on (a profile that it has read, the context's user) reaches the model
    as an argument of the call. So ``response_metadata["amulet"]["source"]`` is "call" then, even
    where config, context or scope named the user.

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
        preference_context: The same for what the run is about, such as ``{"topic": "health"}``,
            for preferences that have a `when`.
        tools: Whether to bring the two tools.

    Raises:
        ProfileStoreError: `profiles` cannot be opened.
        PreferenceSelectionError: `user_id` or `preference_context` is neither a name nor a
            function.
    """

    def __init__(
        self,
        profiles: ProfileStore | str | Path | None = None,
        *,
        user_id: UserRule = "user_id",
        preference_context: ContextRule = "preference_context",
        tools: bool = True,
    ) -> None:
        super().__init__()
        self._users = RuntimeUsers(user_id, profiles, preference_context)
        self.tools = tools_for(self._users) if tools else []

    def wrap_model_call(self, request: Request, handler: Callable[[Request], Answer]) -> Answer:
        """Hands the user's profile to the model; a store is read first.

        Raises:
            PreferenceSelectionError: The model is no `ChatAmulet`, it and its fallbacks are bound
                to different users, or the user of the runtime context cannot be looked up
                anywhere.
            ProfileError: The store fails, or what it holds is not a profile.
        """
        plan = self._plan(request)
        if plan.look_up is None:
            return handler(plan.request)
        store, user_id = plan.look_up
        return handler(plan.with_profile(user_id, read_whole_profile(store, user_id)))

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Answer]]
    ) -> Answer:
        """As `wrap_model_call`, without blocking the event loop."""
        plan = self._plan(request)
        if plan.look_up is None:
            return await handler(plan.request)
        store, user_id = plan.look_up
        return await handler(plan.with_profile(user_id, await aread_whole_profile(store, user_id)))

    def _plan(self, request: Request) -> _Plan:
        """Settles whose profile is wanted, and where it is; reads no store."""
        runtime, models = request.runtime, list(models_of(request.model))
        user_id, store = self._users.named(runtime), self._users.store(runtime)
        given = names_in(request.model_settings)
        bound = Bound() if given else agreed(models)
        names = given or bound.names
        follows = user_of(names) if names else bound.config_user or user_id
        if store is None or follows != user_id:
            request = self._without_tools(request)
        request = self._with_circumstances(request, models[0].bound, follows)
        if names:
            # Bound names are lost where tools are bound and kept where not: say all of them.
            others = dict.fromkeys(name for one in models for name in one.bound.names)
            return _Plan.of(request, {**others, **names})
        if store is not None:
            return _Plan(request, None if follows is None else (store, follows))
        searchable = all(one.model.profiles is not None for one in models)
        if searchable and bound.config_user:
            return _Plan.of(request, {"user_id": bound.config_user})
        # Config and scope reach the model by themselves; the context does not.
        in_context = self._users.context_user(runtime)
        if in_context and not (searchable and config_user(runtime)):
            return _Plan.of(request, {"user_id": in_context})
        return _Plan(request)

    def _with_circumstances(self, request: Request, bound: Bound, follows: str | None) -> Request:
        """A request that tells what the run is about: the model hears of no runtime context."""
        settings = request.model_settings
        told = PreferenceContext(settings.get(ABOUT)).over(bound.about_calls_of(follows))
        told = told.over(self._users.circumstances(request.runtime, follows))
        return request.override(model_settings={**settings, ABOUT: told}) if told else request

    def _without_tools(self, request: Request) -> Request:
        ours = {id(tool) for tool in self.tools}
        return request.override(tools=[tool for tool in request.tools if id(tool) not in ours])


@dataclass(frozen=True)
class _Plan:
    """A request, and where to read the profile that still has to be put into it, if any."""

    request: Request
    look_up: tuple[ProfileStore, str] | None = None

    @classmethod
    def of(cls, request: Request, names: Mapping[str, Any]) -> _Plan:
        """A request that names somebody, with nothing left to read."""
        return cls(request.override(model_settings={**request.model_settings, **names}))

    def with_profile(self, user_id: str, found: PreferenceProfile | None) -> Request:
        # An empty one for None: without any, the model would look for somebody by itself.
        profile = found or PreferenceProfile(user_id=user_id)
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
