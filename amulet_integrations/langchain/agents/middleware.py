"""Agents that answer each user as that user likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from pydantic import model_serializer

from amulet_integrations.decoding.strength import Strength, applicable_strength
from amulet_integrations.langchain.agents.bound_users import (
    ABOUT,
    Bound,
    BoundModel,
    Told,
    agreed,
    models_of,
    names_in,
    strength_in,
    told_alike,
    user_of,
)
from amulet_integrations.langchain.agents.remembering import tools_for
from amulet_integrations.langchain.agents.runtime_user import (
    ContextRule,
    RuntimeUsers,
    UserRule,
    config_user,
)
from amulet_integrations.profiles import PreferenceProfile, ProfileStore, current_scope
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.stores.access import (
    aread_whole_profile,
    awith_parents,
    read_whole_profile,
    with_parents,
)

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
        return handler(self._plan(request).looked_up())

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Answer]]
    ) -> Answer:
        """As `wrap_model_call`, without blocking the event loop."""
        return await handler(await self._plan(request).alooked_up())

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
        request = self._with_circumstances(request, told_alike(models, follows), follows)
        if names:
            # Bound names are lost where tools are bound and kept where not: say all of them.
            others = dict.fromkeys(name for one in models for name in one.bound.names)
            plan = _Plan.of(request, {**others, **names})
            return plan.reading(store, names.get("profile"))
        if store is not None and follows is not None:
            return _Plan(request, store, user_id=follows)
        if store is not None:
            return _Plan(request).reading(store, _profile_of_the_model(models))
        searchable = all(one.model.profiles is not None for one in models)
        if searchable and bound.config_user:
            return _Plan.of(request, {"user_id": bound.config_user})
        # Config and scope reach the model by themselves; the context does not.
        in_context = self._users.context_user(runtime)
        if in_context and not (searchable and config_user(runtime)):
            return _Plan.of(request, {"user_id": in_context})
        return _Plan(request)

    def _with_circumstances(self, request: Request, bound: Told, follows: str | None) -> Request:
        """A request that tells what the run is about, and how strongly preferences are applied.

        The model hears of no runtime context, and of nothing bound to it where tools are bound.
        """
        settings = dict(request.model_settings)
        told = PreferenceContext(settings.get(ABOUT)).over(bound.about)
        if told := told.over(self._users.circumstances(request.runtime, follows)):
            settings[ABOUT] = told
        method = settings.get("method") or bound.method
        if method is not None:
            settings["method"] = method
        strength = applicable_strength(method, strength_in(settings).over(bound.strength))
        unsaid = dict(Strength())
        settings |= {it: said for it, said in strength if said != unsaid[it]}
        return request.override(model_settings=settings)

    def _without_tools(self, request: Request) -> Request:
        ours = {id(tool) for tool in self.tools}
        return request.override(tools=[tool for tool in request.tools if id(tool) not in ours])


@dataclass(frozen=True)
class _Plan:
    """A request, and what still has to be read for it: a user's profile, or a profile's parents."""

    request: Request
    store: ProfileStore | None = None
    user_id: str | None = None
    profile: PreferenceProfile | None = None

    @classmethod
    def of(cls, request: Request, names: Mapping[str, Any]) -> _Plan:
        """A request that names somebody, with nothing left to read."""
        return cls(request.override(model_settings={**request.model_settings, **names}))

    def reading(self, store: ProfileStore | None, profile: Any) -> _Plan:
        """The same, with the parents of a profile to be read where it has any."""
        has_parents = isinstance(profile, PreferenceProfile) and profile.parent is not None
        return replace(self, store=store, profile=profile) if store and has_parents else self

    def looked_up(self) -> Request:
        if self.store is None:
            return self.request
        if self.profile is not None:
            return self._with_profile(with_parents(self.store, self.profile))
        return self._with_profile(read_whole_profile(self.store, str(self.user_id)))

    async def alooked_up(self) -> Request:
        if self.store is None:
            return self.request
        if self.profile is not None:
            return self._with_profile(await awith_parents(self.store, self.profile))
        return self._with_profile(await aread_whole_profile(self.store, str(self.user_id)))

    def _with_profile(self, found: PreferenceProfile | None) -> Request:
        # An empty one for None: without any, the model would look for somebody by itself.
        profile = found or PreferenceProfile(user_id=str(self.user_id))
        settings = {**self.request.model_settings, "profile": _DiscreetProfile.of(profile)}
        return self.request.override(model_settings=settings)


def _profile_of_the_model(models: Sequence[BoundModel]) -> PreferenceProfile | None:
    """The profile that the model would follow by itself: the scope's, or its constructor's."""
    if (scope := current_scope()) is not None and scope.is_set:
        return scope.profile
    return models[0].model.preference_profile if len(models) == 1 else None


class _DiscreetProfile(PreferenceProfile):
    """A profile that serialises without its preferences: tracers write down whole requests."""

    @classmethod
    def of(cls, profile: PreferenceProfile) -> PreferenceProfile:
        return cls(**{name: getattr(profile, name) for name in profile.model_fields_set})

    @model_serializer
    def _told(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "version": self.version}
