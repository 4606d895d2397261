"""A chat model with arguments bound to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig

from amulet_integrations.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.personalization.validated_call import ValidatedCall
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS

Config = RunnableConfig | None


class AmuletBinding(RunnableBinding[LanguageModelInput, AIMessage]):  # type: ignore[no-redef]
    """A binding that serialises without preferences, and that keeps the scope of the call.

    Raises:
        PreferenceSelectionError: A bound preference or profile is of a wrong type.
        InvalidProfileError: A bound preference or profile is not valid.
    """

    def __init__(self, **fields: Any) -> None:
        hidden = _with_hidden_preferences(fields.get("kwargs") or {})
        super().__init__(**{**fields, "kwargs": hidden})

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's own binding, as which it is loaded again."""
        return [*cls.get_lc_namespace(), "RunnableBinding"]

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """As `ChatAmulet.bind_tools`; the bound arguments stay bound."""
        return self._with_own_config(self.bound.bind_tools(tools, **{**self.kwargs, **kwargs}))  # type: ignore[attr-defined]

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """As `ChatAmulet.with_structured_output`; bound output options are replaced."""
        kept = {name: value for name, value in self.kwargs.items() if name not in OUTPUT_OPTIONS}
        made = self.bound.with_structured_output(schema, **{**kept, **kwargs})  # type: ignore[attr-defined]
        return self._with_own_config(made)

    def validate(  # type: ignore[override]
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> ValidatedCall:
        """As `ChatAmulet.validate`, with what is bound."""
        config = self._merge_configs(config)
        return self.bound.validate(input, config, **{**self.kwargs, **kwargs})  # type: ignore[attr-defined, no-any-return]

    def avalidate(
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Coroutine[Any, Any, ValidatedCall]:
        """As `ChatAmulet.avalidate`, with what is bound."""
        config = self._merge_configs(config)
        return self.bound.avalidate(input, config, **{**self.kwargs, **kwargs})  # type: ignore[attr-defined, no-any-return]

    def _with_own_config(
        self, model: Runnable[LanguageModelInput, Any]
    ) -> Runnable[LanguageModelInput, Any]:
        """A model that was made of the bound one, with the config that is bound here."""
        return model.with_config(self.config) if self.config else model

    # LangChain's bindings call the model when they are read. Here it is called at once, because it
    # decides then whose preferences the call follows.

    def ainvoke(  # noqa: D102 - LangChain's methods, here and below
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Coroutine[Any, Any, AIMessage]:
        config = self._merge_configs(config)
        return self.bound.ainvoke(input, config, **{**self.kwargs, **kwargs})

    def stream(  # noqa: D102
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        config = self._merge_configs(config)
        return self.bound.stream(input, config, **{**self.kwargs, **kwargs})  # type: ignore[return-value]

    def astream(  # noqa: D102
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        config = self._merge_configs(config)
        return self.bound.astream(input, config, **{**self.kwargs, **kwargs})  # type: ignore[return-value]

    def abatch(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, list[AIMessage]]:  # noqa: D102
        return bind_coroutine(super().abatch(*args, **kwargs))

    def batch_as_completed(self, *args: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:  # noqa: D102
        return bind_iterator(super().batch_as_completed(*args, **kwargs))

    def abatch_as_completed(self, *args: Any, **kwargs: Any) -> AsyncIterator[tuple[int, Any]]:  # noqa: D102
        return bind_async_iterator(super().abatch_as_completed(*args, **kwargs))

    def astream_events(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        events = super().astream_events(*args, **kwargs)
        return bind_coroutine(events) if asyncio.iscoroutine(events) else events


def _with_hidden_preferences(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with preferences as objects, whose serialised forms have no text."""
    hidden = dict(arguments)
    for name in ("preference", "profile"):
        if arguments.get(name) is not None:
            hidden[name] = getattr(PreferenceSelection(**{name: arguments[name]}), name)
    return hidden
