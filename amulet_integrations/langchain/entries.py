"""Every way into a chat model, with the user resolved once, when the method is called.

LangChain starts most of its work later: at the first `next()`, or when a coroutine is awaited. So
every public method here is a plain function that first selects whose preferences hold (which needs
no I/O) and puts its choice in the place of the arguments that named it. The choice is looked up
before callbacks and the response cache see the call; on the event loop, by a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from amulet_integrations.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.client import AmuletClient, Call
from amulet_integrations.langchain.configs import selection_of
from amulet_integrations.langchain.form import in_plain_form
from amulet_integrations.personalization.prepared_call import Personalization
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS, OutputOptions

PERSONALIZATION = "personalization"
"""The call argument for whose preferences hold: a selection, later a `Personalization`."""

_LANGCHAIN_OWN = (
    "stream",
    "stream_usage",
    "ls_structured_output_format",
    "structured_output_format",
)
"""Call arguments for `BaseChatModel`, tracers and the form of chunks; the engine hears of none."""

_LISTENING = {
    "diff",
    "with_streamed_output_list",
    *(f"{verb}_{kind}" for verb in ("include", "exclude") for kind in ("names", "types", "tags")),
}
"""Arguments of `astream_log` and of `astream_events` that choose what is told."""


class PersonalizedEntries(AmuletClient, BaseChatModel):
    """Overrides every public method of `BaseChatModel` that starts an answer."""

    # Of two bases pydantic follows the last, and LangChain's drops unknown arguments in silence.
    model_config = AmuletClient.model_config

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name, here and below
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """As `BaseChatModel.invoke`."""
        return super().invoke(input, config, stop=stop, **self._selected(kwargs, config))

    def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, AIMessage]:
        """As `BaseChatModel.ainvoke`."""
        return super().ainvoke(input, config, stop=stop, **self._selected(kwargs, config))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """As `BaseChatModel.stream`."""
        kwargs = self._resolved(self._selected(kwargs, config))
        return super().stream(input, config, stop=stop, **kwargs)

    def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """As `BaseChatModel.astream`."""
        return self._astream_selected(self._selected(kwargs, config), input, config, stop)

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `BaseChatModel.generate`; `generate_prompt` and `invoke` come through here too."""
        run = {"tags": tags, "metadata": metadata, "run_name": run_name, "run_id": run_id}
        kwargs = self._resolved(self._selected(kwargs))
        return super().generate(messages, stop, callbacks, **run, **kwargs)  # type: ignore[arg-type]

    def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate`."""
        run = {"tags": tags, "metadata": metadata, "run_name": run_name, "run_id": run_id}
        return self._agenerate_selected(self._selected(kwargs), messages, stop, callbacks, run)

    def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate_prompt`."""
        messages = [prompt.to_messages() for prompt in prompts]
        return self.agenerate(messages, stop, callbacks, **kwargs)

    def stream_events(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `BaseChatModel.stream_events`, which does not come through `stream`."""
        if version == "v3":
            kwargs = self._resolved(self._selected(kwargs, config))
        return super().stream_events(input, config, version=version, stop=stop, **kwargs)

    def astream_events(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `BaseChatModel.astream_events`; its version v3 does not come through `astream`."""
        if version == "v3":
            return self._aevents_selected(self._selected(kwargs, config), input, config, stop)
        kwargs = self._selected_listening(kwargs, config)
        return super().astream_events(input, config, version=version, stop=stop, **kwargs)

    def astream_log(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `Runnable.astream_log`."""
        return super().astream_log(input, config, **self._selected_listening(kwargs, config))

    # Batches have a config for each input, and each input comes through `invoke` or `ainvoke`. What
    # has to be kept from the call is the context around it.

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As `Runnable.batch`, all inputs together unless the config has a `max_concurrency`."""
        configs = _all_at_once(config, inputs)
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, list[AIMessage]]:
        """As `Runnable.abatch`."""
        # Copies, so that what the caller does to the config meanwhile does not matter.
        configs = get_config_list(config, len(inputs))
        return bind_coroutine(
            super().abatch(inputs, configs, return_exceptions=return_exceptions, **kwargs)
        )

    def batch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: Any = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """As `Runnable.batch_as_completed`."""
        return bind_iterator(
            super().batch_as_completed(
                inputs, _all_at_once(config, inputs), return_exceptions=return_exceptions, **kwargs
            )
        )

    def abatch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: Any = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `Runnable.abatch_as_completed`."""
        return bind_async_iterator(
            super().abatch_as_completed(
                inputs, config, return_exceptions=return_exceptions, **kwargs
            )
        )

    def _selected(
        self, kwargs: dict[str, Any], config: RunnableConfig | None = None
    ) -> dict[str, Any]:
        """Call arguments with one choice in the place of those that name a user; no I/O."""
        if isinstance(kwargs.get(PERSONALIZATION), PreferenceSelection | Personalization):
            return kwargs
        call = self._read_call(kwargs)
        kwargs = in_plain_form(kwargs)
        OutputOptions.read(kwargs)
        others = {
            name: kwargs[name] for name in kwargs if name not in PreferenceSelection.model_fields
        }
        return {
            **others,
            PERSONALIZATION: self.resolve_user(call.whose, self._config_whose(config)),
        }

    def _config_whose(self, config: RunnableConfig | None) -> PreferenceSelection:
        return selection_of(config, searchable=self.profiles is not None)

    def _selected_listening(
        self, kwargs: dict[str, Any], config: RunnableConfig | None
    ) -> dict[str, Any]:
        listening = {name: kwargs.pop(name) for name in _LISTENING & kwargs.keys()}
        return {**self._selected(kwargs, config), **listening}

    def _resolved(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Call arguments with the choice looked up; may block on the store."""
        self.of_model(kwargs.get("model"))
        chosen = kwargs[PERSONALIZATION]
        if isinstance(chosen, Personalization):
            return kwargs
        return {**kwargs, PERSONALIZATION: self.personalizer.personalize(chosen)}

    def _read_call(self, kwargs: dict[str, Any], stop: list[str] | None = None) -> Call:
        """Reads call arguments, but for the choice that `_selected` puts among them."""
        read = {
            name: value
            for name, value in kwargs.items()
            if not isinstance(value, PreferenceSelection | Personalization)
        }
        also = (*OUTPUT_OPTIONS, *_LANGCHAIN_OWN, "model")
        return self.read_call(read if stop is None else {**read, "stop": stop}, also)

    async def _agenerate_selected(
        self,
        selected: dict[str, Any],
        messages: list[list[BaseMessage]],
        stop: list[str] | None,
        callbacks: Callbacks,
        run: dict[str, Any],
    ) -> LLMResult:
        kwargs = await asyncio.to_thread(self._resolved, selected)
        return await super().agenerate(messages, stop, callbacks, **run, **kwargs)

    async def _astream_selected(
        self,
        selected: dict[str, Any],
        model_input: LanguageModelInput,
        config: RunnableConfig | None,
        stop: list[str] | None,
    ) -> AsyncGenerator[AIMessageChunk, None]:
        kwargs = await asyncio.to_thread(self._resolved, selected)
        chunks = super().astream(model_input, config, stop=stop, **kwargs)
        async with aclosing(cast("AsyncGenerator[AIMessageChunk, None]", chunks)):
            async for chunk in chunks:
                yield chunk

    async def _aevents_selected(
        self,
        selected: dict[str, Any],
        model_input: LanguageModelInput,
        config: RunnableConfig | None,
        stop: list[str] | None,
    ) -> Any:
        kwargs = await asyncio.to_thread(self._resolved, selected)
        return await super().astream_events(model_input, config, version="v3", stop=stop, **kwargs)


def _all_at_once(
    config: RunnableConfig | Sequence[RunnableConfig] | None, inputs: Sequence[LanguageModelInput]
) -> list[RunnableConfig]:
    """Configs whose thread pool has a thread for each input; a thread here only waits."""
    configs = get_config_list(config, len(inputs))
    for one in configs:
        if one.get("max_concurrency") is None:
            one["max_concurrency"] = len(inputs)
    return configs
