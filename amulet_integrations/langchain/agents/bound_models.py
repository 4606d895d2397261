"""The models that may answer in an agent, with the preferences that are bound to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

from amulet_integrations.decoding.strength import applicable_strength
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.langchain.call_arguments import selection_in
from amulet_integrations.langchain.chat_model import ChatAmulet
from amulet_integrations.personalization.call_options import selection_from
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles.scope import NAMES, levels_that_count, merge_contexts


@dataclass(frozen=True)
class BoundModel:
    """A model that may answer, with what is bound to it and around it.

    Attributes:
        model: The model.
        names: The bound arguments that select preferences; for a pinned model, its user.
        call: What all the bound arguments select.
        config: What the bound configs select.
    """

    model: ChatAmulet
    names: Mapping[str, Any]
    call: PreferenceSelection
    config: PreferenceSelection


def models_of(
    model: Runnable[Any, Any],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    config: PreferenceSelection | None = None,
) -> Iterator[BoundModel]:
    """Finds the models that may answer inside bindings, fallbacks and configurable fields.

    Args:
        model: The model of the agent.
        arguments: Arguments that are bound around it; they override those bound inside.
        config: What the configs bound around it select; it comes first, too.

    Raises:
        PreferenceSelectionError: One of the models is no `ChatAmulet`.
        InvalidProfileError: The user or the context of a bound config is not valid.
    """
    config = config or PreferenceSelection()
    if isinstance(model, RunnableBindingBase | DynamicRunnable):
        config = _merge_configs(config, selection_in(model.config))
    if isinstance(model, ChatAmulet):
        names = names_in(arguments)
        if not names and model.pinned:
            names = {"user_id": model.user_id}
        yield BoundModel(model, names, selection_from({**arguments, **names}), config)
    elif isinstance(model, RunnableBindingBase):
        yield from models_of(model.bound, {**model.kwargs, **arguments}, config)
    elif isinstance(model, DynamicRunnable):
        yield from models_of(model.prepare()[0], arguments, config)
    elif isinstance(model, RunnableWithFallbacks):
        for one in model.runnables:
            yield from models_of(one, arguments, config)
    else:
        raise PreferenceSelectionError(
            f"PreferenceMiddleware was given a {type(model).__name__} to answer, which knows no "
            "preferences. Use ChatAmulet for the agent's model and for each of its fallbacks."
        )


def common_user(models: Sequence[BoundModel]) -> BoundModel:
    """The first model, after a check that the same user is bound to all of them.

    Raises:
        PreferenceSelectionError: They would follow different users.
    """
    first, *others = models
    # A config does not count where arguments select preferences.
    user = first.names or first.config.user_id
    if any((other.names or other.config.user_id) != user for other in others):
        raise PreferenceSelectionError(
            "The agent's model and its fallbacks would follow different users: one of them is "
            "bound to a user (or a preference or profile) and another is not, or to another. "
            "Bind all of them to the same, or none and name the user in the config or context."
        )
    return first


def check_options(models: Sequence[BoundModel], selection: PreferenceSelection) -> None:
    """Checks that the same options are bound to all models for calls of the selected user.

    Raises:
        PreferenceSelectionError: The models have different options.
    """
    first, *others = (merge_options(selection, [one.call, one.config]) for one in models)
    if any(other != first for other in others):
        context = first.preference_context
        has_contexts = any(other.preference_context != context for other in others)
        what = "preference_context" if has_contexts else "strength or method"
        raise PreferenceSelectionError(
            "The agent's model and its fallbacks are bound to different values of "
            f"{what}. Bind all of them to the same, or set it in the config or context."
        )


def merge_options(
    selection: PreferenceSelection, levels: Sequence[PreferenceSelection]
) -> PreferenceSelection:
    """Merges the contexts, strengths and methods of levels that do not name another user.

    Args:
        selection: The selection whose user is followed.
        levels: The levels; where two set the same option, the first one counts.
    """
    methods = [level.method for level in levels_that_count(selection, levels)]
    method = next((it for it in methods if it is not None), None)
    context, strength = merge_contexts(selection, levels)
    return PreferenceSelection(
        preference_context=context, method=method, **dict(applicable_strength(method, strength))
    )


def names_in(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that select preferences."""
    return {name: arguments[name] for name in NAMES if arguments.get(name) is not None}


def _merge_configs(outer: PreferenceSelection, inner: PreferenceSelection) -> PreferenceSelection:
    """Merges two bound configs as LangChain does."""
    return PreferenceSelection(
        user_id=inner.user_id if outer.user_id is None else outer.user_id,
        preference_context=outer.preference_context or inner.preference_context,
        **dict(outer.strength.over(inner.strength)),
    )
