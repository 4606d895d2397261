"""The middleware that applies users' preferences in agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse

from amulet_integrations.errors import UnknownUserError
from amulet_integrations.langchain.chat_model import ChatAmulet
from amulet_integrations.personalization.call_options import selection_from
from amulet_integrations.personalization.looked_up_profile import LookedUpProfile
from amulet_integrations.personalization.unknown_users import how_to_get_store
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import (
    PreferenceProfile,
    ProfileLimits,
    ProfileStore,
    current_scope,
)
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import aread_whole_profile, read_whole_profile
from amulet_integrations.validation import suggest_names

from .bound_models import (
    BoundModel,
    check_options,
    common_user,
    merge_options,
    models_of,
    names_in,
)
from .preference_tools import tools_for
from .runtime_users import AnyRuntime, ContextRule, RuntimeUsers, UserRule

Response = ModelResponse[Any]
Request = ModelRequest[Any]


class PreferenceMiddleware(AgentMiddleware[Any, Any, Any]):
    """Applies the preferences of a run's user to every model call of an agent.

        agent = create_agent(
            ChatAmulet(), tools, middleware=[PreferenceMiddleware()], context_schema=Context,
            store=InMemoryStore(),
        )
        agent.invoke({"messages": [...]}, context=Context(user_id="ann"))

    The first of these that selects preferences wins: the call (settings that another middleware has
    put into the request, arguments bound to the model) or `ChatAmulet.for_user`; a config bound
    to the model; the run's config, ``{"configurable": {"user_id": ...}}``; the runtime context;
    the surrounding `preference_scope`; the model's constructor. The profile is read for each
    model call, so a change applies from the next call on. If a store fails, the run fails.

    The middleware passes the profile that it has read, or the context's user, to the model as an
    argument of the call. So ``response_metadata["amulet"]["source"]`` is "call" then, even where
    config, context or scope named the user.

    The middleware adds two tools, `remember_preference` and `forget_preference`, by which users
    change their own profiles. The user comes from config, context or scope, and never from the
    model. A text in the conversation (a web page, a document) may still make a model call them;
    where that matters, switch them off or have people approve the calls. The model is not shown
    the tools where there is no store for them, or where the call names another user.

    Args:
        profiles: The store of profiles, a database URL or the path of an SQLite file. None for
            the graph's own store (through `LangGraphProfileStore`), and where the graph has none,
            the `profiles` of the `ChatAmulet`.
        user_id: The attribute or key of the runtime context that holds the user's id, or a
            function that takes the context and returns the id.
        preference_context: The same for what the run is about, such as ``{"topic": "health"}``,
            for preferences that have a `when`.
        tools: Whether to add the two tools.
        profile_limits: What one user may cost, and which profiles may be parents. The default is
            the model's `profile_limits` for calls, and the store's limits for the tools.

    Raises:
        ProfileStoreError: `profiles` cannot be opened.
        PreferenceSelectionError: `user_id` or `preference_context` is neither a name nor a
            function.
        UnknownArgumentError: There is no such argument.
    """

    @suggest_names
    def __init__(
        self,
        profiles: ProfileStore | str | Path | None = None,
        *,
        user_id: UserRule = "user_id",
        preference_context: ContextRule = "preference_context",
        tools: bool = True,
        profile_limits: ProfileLimits | None = None,
    ) -> None:
        super().__init__()
        self._users = RuntimeUsers(user_id, profiles, preference_context, profile_limits)
        self.tools = tools_for(self._users) if tools else []

    def wrap_model_call(self, request: Request, handler: Callable[[Request], Response]) -> Response:
        """Passes the user's profile, which is read from the store, to the model.

        Raises:
            PreferenceSelectionError: The model is no `ChatAmulet`, it and its fallbacks are bound
                to different users.
            UnknownUserError: The user has no profile, and the model's `unknown_user` is "error"; or
                the user of the runtime context cannot be looked up anywhere.
            ProfileError: The store fails, or contains something else than a profile.
        """
        return handler(self._plan(request).read())

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """As `wrap_model_call`, without blocking the event loop."""
        return await handler(await self._plan(request).aread())

    def _plan(self, request: Request) -> _Lookup:
        """Decides which profile is followed, and from which store; reads none yet."""
        runtime, models = request.runtime, list(models_of(request.model))
        run_user, store = self._users.user_of(runtime), self._users.store(runtime)
        given = selection_from(request.model_settings)
        names = names_in(request.model_settings)
        selection = given
        if not given.is_set:
            names, selection = _bound_selection(models, run_user)
        user_id = selection.effective_user_id
        llm = models[0].model
        limits = self._users.profile_limits or llm.profile_limits
        if not (selection.is_set or names):
            request = self._report_unnamed(request, llm, store)
        if store is None or user_id != run_user:
            request = self._without_tools(request)
        check_options(models, selection)
        config, context = self._users.config(runtime), self._users.context(runtime)
        levels = [given, models[0].call, models[0].config, config, context]
        request = _with_options(request, merge_options(selection, levels))
        if names:
            # What is bound stays bound, so the other names are set to None.
            names = dict.fromkeys(name for one in models for name in one.names) | names
            request = _with_settings(request, names)
            return _Lookup(request, llm, store, _heir(selection.profile), limits)
        if store is not None:
            wanted = user_id or _heir(_profile_of(models))
            return _Lookup(request, llm, store, wanted, limits)
        searchable = all(one.model.has_profiles for one in models)
        if searchable and models[0].config.user_id:
            return _Lookup(_with_settings(request, {"user_id": user_id}), llm)
        # Config and scope reach the model by themselves; the runtime context does not.
        if context.user_id and not (searchable and config.user_id):
            if not any(one.model.has_profiles for one in models):
                raise UnknownUserError(_no_place(context.user_id, llm))
            request = _with_settings(request, {"user_id": context.user_id})
        return _Lookup(request, llm)

    def _report_unnamed(
        self, request: Request, llm: ChatAmulet, store: ProfileStore | None
    ) -> Request:
        """Reports a run that names nobody, or by a misspelt name in the runtime context.

        The model reports misspelt names in the config, and is told of guests.
        """
        runtime: AnyRuntime = request.runtime
        if self._users.is_guest(runtime):
            return _with_settings(request, {"user_id": None})
        unread_keys = [] if llm.pinned else list(self._users.unread_keys(runtime))
        for unread in unread_keys:
            llm.report_unread_key(unread.key, unread.describe("context"))
        if store is not None and not unread_keys:
            llm.report_nobody(llm.resolve_user(PreferenceSelection()), has_profiles=True)
        return request

    def _without_tools(self, request: Request) -> Request:
        ours = {id(tool) for tool in self.tools}
        return request.override(tools=[tool for tool in request.tools if id(tool) not in ours])


@dataclass(frozen=True)
class _Lookup:
    """A request, and what has still to be read for it.

    Attributes:
        request: The request.
        model: The model of the agent, which has the setting `unknown_user`.
        store: Where to read; None where nothing has to be read.
        wanted: The user, or a profile of which only the parents have to be read.
        limits: Say which profiles may be parents; None for the store's.
    """

    request: Request
    model: ChatAmulet
    store: ProfileStore | None = None
    wanted: str | PreferenceProfile | None = None
    limits: ProfileLimits | None = None

    def read(self) -> Request:
        if self.store is None or self.wanted is None:
            return self.request
        self._check_given(self.store)
        return self._with_profile(read_whole_profile(self.store, self.wanted, self.limits))

    async def aread(self) -> Request:
        if self.store is None or self.wanted is None:
            return self.request
        self._check_given(self.store)
        found = await aread_whole_profile(self.store, self.wanted, self.limits)
        return self._with_profile(found)

    def _check_given(self, store: ProfileStore) -> None:
        if isinstance(self.wanted, PreferenceProfile):
            (self.limits or limits_of(store)).check_saved(self.wanted)

    def _with_profile(self, found: PreferenceProfile | None) -> Request:
        if found is None and self.store is not None:
            method = self.request.model_settings.get("method") or self.model.method
            if method != "base":
                self.model.report_unknown_user(str(self.wanted), self.store)
        # An empty profile for None: without a profile, the model would look for a user by itself.
        profile = found or PreferenceProfile(user_id=str(self.wanted))
        return _with_settings(self.request, {"profile": LookedUpProfile.of(profile)})


def _bound_selection(
    models: Sequence[BoundModel], run_user: str | None
) -> tuple[dict[str, Any], PreferenceSelection]:
    """The names that are bound to the models, and whom they, a bound config or the run select."""
    bound = common_user(models)
    if bound.names:  # also those of a model that follows nobody
        return dict(bound.names), bound.call
    if bound.config.is_set:
        return {}, bound.config
    return {}, PreferenceSelection(user_id=run_user)


def _with_options(request: Request, options: PreferenceSelection) -> Request:
    """A request with what the run is about, and with how strongly preferences are applied.

    The model does not see the runtime context.
    """
    unset = dict(PreferenceSelection())
    given = {name: value for name, value in options if value != unset[name]}
    return _with_settings(request, given)


def _with_settings(request: Request, settings: Mapping[str, Any]) -> Request:
    return request.override(model_settings={**request.model_settings, **settings})


def _profile_of(models: Sequence[BoundModel]) -> PreferenceProfile | None:
    """The profile that the model would follow by itself: the scope's, or its constructor's."""
    if (scope := current_scope()) is not None and scope.is_set:
        return scope.profile
    return models[0].model.preference_profile if len(models) == 1 else None


def _no_place(user_id: str, llm: ChatAmulet) -> str:
    return (
        f"The runtime context names user_id={user_id!r}, but there is no place to look the user "
        f"up. {how_to_get_store(user_id, llm.missing_place)} Or give the graph a store: "
        "create_agent(..., store=...)."
    )


def _heir(profile: PreferenceProfile | None) -> PreferenceProfile | None:
    """The profile, if it has a parent that must be read."""
    return profile if profile and profile.parent is not None else None
