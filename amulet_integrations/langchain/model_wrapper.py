"""What wraps a chat model stays a chat model.

LangChain's own wrappers look methods such as `bind_tools` up on the model inside, so what the
wrapper holds is lost there. The wrappers here make a wrapper again of what such a method returns.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, Self, TypeVar, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.runnables.utils import ConfigurableField

from amulet_integrations.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.errors import PreferenceSelectionError

AnyModel = Runnable[LanguageModelInput, Any]
Change = Callable[[Any], Any]
"""Makes another model of one."""

W = TypeVar("W", bound="type[ModelWrapper]")

_OURS: dict[type, type[ModelWrapper]] = {}


def stands_for(langchains: type) -> Callable[[W], W]:
    """Declares that a class stands for one of LangChain's, as which it is loaded again."""

    def declare(ours: W) -> W:
        _OURS[langchains] = ours
        ours.langchains = langchains
        return ours

    return declare


def _kept(wrapper: Any) -> Any:
    """The wrapper of ours in the place of one that LangChain has made."""
    if isinstance(wrapper, ModelWrapper):
        return wrapper
    ours = next((ours for theirs, ours in _OURS.items() if isinstance(wrapper, theirs)), None)
    return wrapper if ours is None else ours(**_fields(wrapper))


def _fields(wrapper: Any) -> dict[str, Any]:
    return {name: getattr(wrapper, name) for name in type(wrapper).model_fields}


def within_run(config: RunnableConfig) -> RunnableConfig:
    """A config with what the surrounding run configures beside it.

    To LangChain, a config with `configurable` hides that of the run, with the run's user.
    """
    around = (var_child_runnable_config.get() or {}).get("configurable")
    if not around:
        return config
    return {**config, "configurable": {**around, **config.get("configurable", {})}}


class Wrappable(Runnable[LanguageModelInput, Any]):
    """The methods that wrap a chat model; what they return has the model's methods."""

    def bind(self, **kwargs: Any) -> Any:
        """A model with arguments of a call bound to it; its serialised forms show no preference.

        Raises:
            PreferenceSelectionError: A preference or profile is of a wrong type.
            InvalidProfileError: A preference or profile is not valid.
        """
        return _kept(super().bind(**kwargs))

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`."""
        return _kept(super().with_config(config, **kwargs))

    def with_listeners(self, **listeners: Any) -> Any:
        """As `Runnable.with_listeners`."""
        return _kept(super().with_listeners(**listeners))

    def with_alisteners(self, **listeners: Any) -> Any:
        """As `Runnable.with_alisteners`."""
        return _kept(super().with_alisteners(**listeners))

    def with_types(self, input_type: Any = None, output_type: Any = None) -> Any:
        """As `Runnable.with_types`."""
        return _kept(super().with_types(input_type=input_type, output_type=output_type))

    def with_retry(self, **options: Any) -> Any:
        """As `Runnable.with_retry`."""
        return _kept(super().with_retry(**options))

    def with_fallbacks(self, fallbacks: Sequence[Runnable[Any, Any]], **options: Any) -> Any:
        """As `Runnable.with_fallbacks`."""
        return _kept(super().with_fallbacks(fallbacks, **options))

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`."""
        return _kept(super().configurable_fields(**fields))  # type: ignore[misc]

    def configurable_alternatives(self, which: ConfigurableField, **alternatives: Any) -> Any:
        """As `RunnableSerializable.configurable_alternatives`."""
        return _kept(super().configurable_alternatives(which, **alternatives))  # type: ignore[misc]


class ModelWrapper(Wrappable):
    """A wrapper of one or several chat models, with their methods.

    Attributes:
        langchains: The class of LangChain that it stands for.
    """

    langchains: ClassVar[type]

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's own class."""
        return [*cls.get_lc_namespace(), cls.langchains.__name__]  # type: ignore[attr-defined]

    @abstractmethod
    def change_models(self, change: Change) -> Any:
        """The same wrapper around other models.

        Args:
            change: Makes the new model of each model inside.
        """

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; what this wrapper holds is kept."""
        return cast("AnyModel", self.change_models(lambda it: it.bind_tools(tools, **kwargs)))

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.with_structured_output`; what this wrapper holds is kept."""

        def change(model: Any) -> Any:
            return model.with_structured_output(schema, **kwargs)

        return cast("AnyModel", self.change_models(change))

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`, of the models inside.

        The wrapper's own fields, such as a retry's `max_attempt_number`, may be given instead.
        """
        if fields.keys() <= type(self).model_fields.keys():  # type: ignore[attr-defined]
            return super().configurable_fields(**fields)
        return self.change_models(lambda it: it.configurable_fields(**fields))

    def for_user(self, user_id: str) -> Self:
        """As `ChatAmulet.for_user`; it replaces a user who is bound.

        Raises:
            PreferenceSelectionError: A model inside is no `ChatAmulet`, or has no store.
            InvalidProfileError: `user_id` is no valid user id.
        """
        return cast("Self", self.change_models(lambda it: _own(it).for_user(user_id)))

    def plain(self) -> Self:
        """As `ChatAmulet.plain`; it replaces a user who is bound.

        Raises:
            PreferenceSelectionError: A model inside is no `ChatAmulet`.
        """
        return cast("Self", self.change_models(lambda it: _own(it).plain()))

    def with_fields(self, **changes: Any) -> Self:
        """The same wrapper with other values of some fields."""
        return type(self)(**{**_fields(self), **changes})

    # LangChain's wrappers call the model when they are awaited or read. Whose preferences a call
    # follows depends on the moment of the call, so its context variables are kept.

    def ainvoke(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:  # noqa: D102
        return bind_coroutine(super().ainvoke(*args, **kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:  # noqa: D102
        return bind_iterator(super().stream(*args, **kwargs))

    def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: D102
        return bind_async_iterator(super().astream(*args, **kwargs))

    def abatch(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, list[Any]]:  # noqa: D102
        return bind_coroutine(super().abatch(*args, **kwargs))

    def batch_as_completed(self, *args: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:  # noqa: D102
        return bind_iterator(super().batch_as_completed(*args, **kwargs))

    def abatch_as_completed(self, *args: Any, **kwargs: Any) -> AsyncIterator[tuple[int, Any]]:  # noqa: D102
        return bind_async_iterator(super().abatch_as_completed(*args, **kwargs))

    def astream_events(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        events = super().astream_events(*args, **kwargs)
        return bind_coroutine(events) if asyncio.iscoroutine(events) else events


def _own(model: Any) -> Any:
    if isinstance(model, Wrappable):
        return model
    raise PreferenceSelectionError(
        f"A {type(model).__name__} knows no users. Use ChatAmulet for the model and for each of "
        "its fallbacks and alternatives."
    )
