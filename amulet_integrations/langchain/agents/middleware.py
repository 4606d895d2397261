"""Agents that answer each user as that user likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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
from amulet_integrations.profiles.characters import checked_label

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
            PreferenceSelectionError: The model is no `ChatAmulet`, it and its fallbacks are bound
                to different users, or the user of the runtime context cannot be looked up
                anywhere.
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
        runtime, models = request.runtime, list(_models_of(request.model))
        user_id, store = self._users.named(runtime), self._users.store(runtime)
        given = _names_in(request.model_settings)
        bound = _Bound() if given else _agreed(models)
        names = given or bound.names
        follows = _user_of(names) if names else bound.config_user or user_id
        if store is None or follows != user_id:
            request = self._without_tools(request)
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


@dataclass(frozen=True)
class _Bound:
    """Who was bound to a model.

    Attributes:
        names: The arguments of calls that name somebody; for a pinned model, its user.
        config_user: The user of the config that was bound.
    """

    names: Mapping[str, Any] = field(default_factory=dict)
    config_user: str | None = None


@dataclass(frozen=True)
class _Model:
    """A model that may answer, and who was bound to it and to what is around it."""

    model: ChatAmulet
    bound: _Bound


def _models_of(
    model: Runnable[Any, Any],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    user_id: Any = None,
) -> Iterator[_Model]:
    """The models that may answer: through bindings, fallbacks and configurable fields.

    Args:
        model: What the agent was given.
        arguments: Those bound around it, which win over those bound inside.
        user_id: The user of the config bound around it, who does, too.

    Raises:
        PreferenceSelectionError: One of them is no `ChatAmulet`.
        InvalidProfileError: The user of a bound config is no user id.
    """
    if isinstance(model, RunnableBindingBase | DynamicRunnable) and user_id is None:
        user_id = ((model.config or {}).get("configurable") or {}).get("user_id")
    if isinstance(model, ChatAmulet):
        yield _Model(model, _bound_to(model, arguments, user_id))
    elif isinstance(model, RunnableBindingBase):
        yield from _models_of(model.bound, {**model.kwargs, **arguments}, user_id)
    elif isinstance(model, DynamicRunnable):
        yield from _models_of(model.prepare(ensure_config())[0], arguments, user_id)
    elif isinstance(model, RunnableWithFallbacks):
        for one in model.runnables:
            yield from _models_of(one, arguments, user_id)
    else:
        raise PreferenceSelectionError(
            f"PreferenceMiddleware was given a {type(model).__name__} to answer, which knows no "
            "preferences. Use ChatAmulet for the agent's model and for each of its fallbacks."
        )


def _bound_to(model: ChatAmulet, arguments: Mapping[str, Any], user_id: Any) -> _Bound:
    names = _names_in(arguments)
    if not names and model.pinned:
        names = {"user_id": model.user_id}
    return _Bound(names, None if user_id is None else checked_label("user_id", user_id))


def _agreed(models: Sequence[_Model]) -> _Bound:
    """Who was bound to all of the models alike.

    Raises:
        PreferenceSelectionError: They disagree.
    """
    first, *others = (one.bound for one in models)
    # A config says nothing where arguments name somebody.
    if any((it.names or it.config_user) != (first.names or first.config_user) for it in others):
        raise PreferenceSelectionError(
            "The agent's model and its fallbacks would follow different users: one of them is "
            "bound to a user (or a preference or profile) and another is not, or to another. "
            "Bind all of them to the same, or none and name the user in the config or context."
        )
    return first


def _names_in(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: arguments[name] for name in _NAMES if arguments.get(name) is not None}


def _user_of(names: Mapping[str, Any]) -> str | None:
    """The user that a call names; None where it names a preference of nobody's."""
    return names.get("user_id") or getattr(names.get("profile"), "user_id", None)
