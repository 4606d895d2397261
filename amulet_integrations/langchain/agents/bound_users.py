"""Whom the bindings around an agent's model name, and what else they say of its calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import ensure_config
from langchain_core.runnables.configurable import DynamicRunnable

from amulet_integrations.client import STRENGTH_ARGUMENTS, without_unset
from amulet_integrations.decoding.strength import Method, Strength
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.langchain.call_arguments import selection_in
from amulet_integrations.langchain.chat_model import ChatAmulet
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.profiles.conditions import PreferenceContext

NAMES = ("preference", "profile", "user_id")
"""The arguments of a call that name somebody."""

ABOUT = "preference_context"
"""The argument that says what a call is about."""


class Told(NamedTuple):
    """What is told about a call.

    Attributes:
        about: What it is about.
        strength: How strongly preferences are applied.
        method: By which method.
    """

    about: PreferenceContext = PreferenceContext()
    strength: Strength = Strength()
    method: Method | None = None


@dataclass(frozen=True)
class Bound:
    """Who was bound to a model.

    Attributes:
        names: The arguments of calls that name somebody; for a pinned model, its user.
        config_user: The user of the config that was bound.
        about: What the calls are about, by the bound arguments and then by the bound config.
        strength: How strongly preferences are applied, by the same.
        method: By which method, by the bound arguments.
    """

    names: Mapping[str, Any] = field(default_factory=dict)
    config_user: str | None = None
    about: PreferenceContext = field(default_factory=PreferenceContext)
    strength: Strength = field(default_factory=Strength)
    method: Method | None = None

    def told_of(self, user_id: str | None) -> Told:
        """What was told of calls of this user's, or of anybody's."""
        whose = user_of(self.names) if self.names else self.config_user
        nobody = not self.names and self.config_user is None
        if not nobody and whose != user_id:
            return Told()
        return Told(self.about, self.strength, self.method)


@dataclass(frozen=True)
class BoundModel:
    """A model that may answer, and who was bound to it and to what is around it."""

    model: ChatAmulet
    bound: Bound


def models_of(
    model: Runnable[Any, Any],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    config: PreferenceSelection | None = None,
) -> Iterator[BoundModel]:
    """The models that may answer: through bindings, fallbacks and configurable fields.

    Args:
        model: What the agent was given.
        arguments: Those bound around it, which win over those bound inside.
        config: What the configs bound around it say, which wins, too.

    Raises:
        PreferenceSelectionError: One of them is no `ChatAmulet`.
        InvalidProfileError: The user or the context of a bound config is none.
    """
    config = config or PreferenceSelection()
    if isinstance(model, RunnableBindingBase | DynamicRunnable):
        config = _inside(config, selection_in(model.config))
    if isinstance(model, ChatAmulet):
        yield BoundModel(model, _bound_to(model, arguments, config))
    elif isinstance(model, RunnableBindingBase):
        yield from models_of(model.bound, {**model.kwargs, **arguments}, config)
    elif isinstance(model, DynamicRunnable):
        yield from models_of(model.prepare(ensure_config())[0], arguments, config)
    elif isinstance(model, RunnableWithFallbacks):
        for one in model.runnables:
            yield from models_of(one, arguments, config)
    else:
        raise PreferenceSelectionError(
            f"PreferenceMiddleware was given a {type(model).__name__} to answer, which knows no "
            "preferences. Use ChatAmulet for the agent's model and for each of its fallbacks."
        )


def _inside(outer: PreferenceSelection, inner: PreferenceSelection) -> PreferenceSelection:
    """Two bound configs as LangChain merges them."""
    return PreferenceSelection(
        user_id=inner.user_id if outer.user_id is None else outer.user_id,
        preference_context=outer.preference_context or inner.preference_context,
        **dict(outer.strength.over(inner.strength)),
    )


def _bound_to(
    model: ChatAmulet, arguments: Mapping[str, Any], config: PreferenceSelection
) -> Bound:
    names = names_in(arguments)
    if not names and model.pinned:
        names = {"user_id": model.user_id}
    about, strength = PreferenceContext(arguments.get(ABOUT)), strength_in(arguments)
    if not names or config.user_id in {None, user_of(names)}:
        # A config that names another user tells nothing of this one's calls.
        about, strength = about.over(config.preference_context), strength.over(config.strength)
    return Bound(names, config.user_id, about, strength, arguments.get("method"))


def told_alike(models: Sequence[BoundModel], user_id: str | None) -> Told:
    """What was bound about calls of a user's, to all of the models alike.

    Raises:
        PreferenceSelectionError: They disagree.
    """
    first, *others = (one.bound.told_of(user_id) for one in models)
    if any(it != first for it in others):
        what = ABOUT if any(it.about != first.about for it in others) else "strength or method"
        raise PreferenceSelectionError(
            "The agent's model and its fallbacks are bound to different values of "
            f"{what}. Bind all of them to the same, or tell it in the config or context."
        )
    return first


def agreed(models: Sequence[BoundModel]) -> Bound:
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


def names_in(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that name somebody."""
    return {name: arguments[name] for name in NAMES if arguments.get(name) is not None}


def strength_in(arguments: Mapping[str, Any]) -> Strength:
    """What arguments of a call say of the strength."""
    return Strength(
        **without_unset({it: arguments[it] for it in STRENGTH_ARGUMENTS if it in arguments})
    )


def user_of(names: Mapping[str, Any]) -> str | None:
    """The user that a call names; None where it names a preference of nobody's."""
    return names.get("user_id") or getattr(names.get("profile"), "user_id", None)
