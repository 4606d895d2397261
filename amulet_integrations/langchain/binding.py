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
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS

Config = RunnableConfig | None


class AmuletBinding(RunnableBinding[LanguageModelInput, AIMessage]):  # type: ignore[no-redef]
    """Tells no preference's text, and follows the scope in which it was asked, as the model does.

    Raises:
        PreferenceSelectionError: A bound preference or profile is of a wrong type.
        InvalidProfileError: A bound preference or profile is not valid.
    """

    def __init__(self, **fields: Any) -> None:
        hidden = _without_texts(fields.get("kwargs") or {})
        super().__init__(**{**fields, "kwargs": hidden})

    @classmethod
    def lc_id(cls) -> list[str]:
        """As LangChain's own bindings, so that it is loaded as one."""
        return [*cls.get_lc_namespace(), "RunnableBinding"]

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """As `ChatAmulet.bind_tools`; what is bound already stays bound."""
        return self._around(self.bound.bind_tools(tools, **{**self.kwargs, **kwargs}))  # type: ignore[attr-defined]

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """As `ChatAmulet.with_structured_output`; what is bound stays, but for tools and forms."""
        kept = {name: value for name, value in self.kwargs.items() if name not in OUTPUT_OPTIONS}
        made = self.bound.with_structured_output(schema, **{**kept, **kwargs})  # type: ignore[attr-defined]
        return self._around(made)

    def _around(self, made: Runnable[LanguageModelInput, Any]) -> Runnable[LanguageModelInput, Any]:
        """What was made of the model, with the config that is bound here."""
        return made.with_config(self.config) if self.config else made

    # LangChain's bindings start when they are read; the model selects whose preferences hold when
    # it is called, so here it is called at once.

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


def _without_texts(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with preferences as objects, whose serialised forms tell no text."""
    hidden = dict(arguments)
    for name in ("preference", "profile"):
        if arguments.get(name) is not None:
            hidden[name] = getattr(PreferenceSelection(**{name: arguments[name]}), name)
    return hidden
