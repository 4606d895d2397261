"""What wraps a chat model stays a chat model.

LangChain's own wrappers look methods such as `bind_tools` up on the model inside, so what the
wrapper holds is lost there. The wrappers here make a wrapper again of what such a method returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar, Self, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config

from amulet_integrations.concurrency.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.errors import InvalidParamsError, PreferenceSelectionError
from amulet_integrations.langchain.structured.configured_output import ConfiguredOutput
from amulet_integrations.personalization.validated_call import ValidatedCall

from .call_arguments import RUN_OPTIONS
from .call_config import merged, within_run
from .wrappable import STAND_INS, Wrappable, fields_of

AnyModel = Runnable[LanguageModelInput, Any]
Change = Callable[[Any], Any]
"""Makes another model of one."""

NextCall = tuple[Any, RunnableConfig, dict[str, Any]]
"""A model, the config of its call, and the arguments that are bound to it."""


class ModelWrapper(Wrappable):
    """A wrapper of one or several chat models, with their methods.

    Attributes:
        langchains: The class of LangChain that it stands for, as which it is loaded again.
    """

    langchains: ClassVar[type]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "langchains" in vars(cls):
            STAND_INS[cls.langchains] = cls

    only_model: ClassVar[str] = ""
    """The field of the model inside, where it answers every call.

    A wrapper of several models overrides `models` and `change_models`.
    """

    merges_configs: ClassVar[bool] = False
    """Whether it has a config, which counts less than that of a call and more than the run's."""

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's own class."""
        return [*cls.get_lc_namespace(), cls.langchains.__name__]  # type: ignore[attr-defined]

    def change_models(self, change: Change) -> Any:
        """The same wrapper around other models.

        Args:
            change: Makes the new model of each model inside.
        """
        return self.with_fields(**{self.only_model: change(self.models[0])})

    @property
    def models(self) -> list[Any]:
        """The models inside; the first one is asked first."""
        return [getattr(self, self.only_model)]

    def next_call(self, config: RunnableConfig | None) -> NextCall:
        """Which model a call goes to, with which config, and with which arguments bound to it.

        Args:
            config: The config of the call of this wrapper.
        """
        return self.models[0], config or {}, {}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; what this wrapper holds is kept."""
        return cast("AnyModel", self.change_models(lambda it: it.bind_tools(tools, **kwargs)))

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.with_structured_output`; what this wrapper holds is kept."""
        model, configurable = self.lift_configurable()
        made = model.make_structured(schema, kwargs)
        if not configurable:
            return made
        return ConfiguredOutput(bound=made, config=RunnableConfig(configurable=configurable))

    def make_structured(self, schema: Any, kwargs: dict[str, Any]) -> AnyModel:
        """As `with_structured_output`, of a wrapper without what `lift_configurable` takes."""

        def change(model: Any) -> Any:
            return model.with_structured_output(schema, **kwargs)

        return cast("AnyModel", self.change_models(change))

    def lift_configurable(self) -> tuple[Self, dict[str, Any]]:
        """The same model with nothing in its configs' `configurable`, and what was there.

        LangChain's sequences and retries hand the values of a run on as if they were the call's.
        So what is bound has to be bound around them.
        """
        changes: dict[str, Any] = {}
        found: dict[str, Any] = {}
        inner = getattr(self, self.only_model) if self.only_model else None
        if isinstance(inner, ModelWrapper):
            changes[self.only_model], found = inner.lift_configurable()
        if self.merges_configs and (config := getattr(self, "config", None)):
            changes["config"] = merged({**config, "configurable": None})
            found = {**found, **merged(config).get("configurable", {})}
        return (self.with_fields(**changes) if found else self), found

    def configurable_names(self) -> set[str]:
        """The configurable fields of the models inside."""
        inside = (it.configurable_names() for it in self.models if isinstance(it, ModelWrapper))
        return set[str]().union(*inside)

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`; what an earlier config set is kept."""
        if not self.merges_configs:
            return super().with_config(config, **kwargs)
        own: RunnableConfig = self.config  # type: ignore[attr-defined]
        return self.with_fields(config=merged(own, {**(config or {}), **kwargs}))

    def with_retry(self, **options: Any) -> Any:
        """As `Runnable.with_retry`."""
        if not self.merges_configs:
            return super().with_retry(**options)
        model, configurable = self.lift_configurable()
        made = super(ModelWrapper, model).with_retry(**options)
        return made.with_config(configurable=configurable) if configurable else made

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
        return type(self)(**{**fields_of(self), **changes})

    def validate(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> ValidatedCall:
        """As `ChatAmulet.validate`, with what this wrapper holds, of the model asked first.

        Raises:
            InvalidParamsError: That model is no `ChatAmulet`.
        """
        return cast("ValidatedCall", self._ask_first("validate", config, kwargs)(input))

    def avalidate(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Coroutine[Any, Any, ValidatedCall]:
        """As `validate`, without blocking the event loop."""
        found = self._ask_first("avalidate", config, kwargs)(input)
        return cast("Coroutine[Any, Any, ValidatedCall]", found)

    def _ask_first(
        self, name: str, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        model, config, bound = self._innermost(config)
        if not isinstance(model, Wrappable):
            raise InvalidParamsError(
                f"{name}: the model asked first is a {type(model).__name__}, which cannot validate "
                "calls. Use ChatAmulet for it."
            )
        return partial(getattr(model, name), config=within_run(config), **{**bound, **kwargs})

    def _innermost(self, config: RunnableConfig | None) -> NextCall:
        """As `next_call`, of the model within all wrappers."""
        model: Any = self
        held: dict[str, Any] = {}
        while isinstance(model, ModelWrapper):
            model, config, bound = model.next_call(config)
            held = {**bound, **held}
        return model, config or {}, held

    # LangChain has these only on models. What is bound or configured would be lost there.

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `BaseChatModel.generate` of the model asked first, with what this wrapper holds."""
        return cast("LLMResult", self._generate("generate", messages, stop, callbacks, kwargs))

    def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `generate`, for asyncio."""
        answer = self._generate("agenerate", messages, stop, callbacks, kwargs)
        return cast("Coroutine[Any, Any, LLMResult]", answer)

    def generate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `generate`, of prompts."""
        return self.generate([it.to_messages() for it in prompts], stop, callbacks, **kwargs)

    def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `agenerate`, of prompts."""
        return self.agenerate([it.to_messages() for it in prompts], stop, callbacks, **kwargs)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """As `ChatAmulet.get_num_tokens_from_messages`; tools that are bound count, too."""
        model, _, held = self._innermost(None)
        described = [*held.get("tools", ()), *(tools or ())]
        return cast("int", model.get_num_tokens_from_messages(messages, described))

    def _generate(
        self,
        method: str,
        messages: list[list[BaseMessage]],
        stop: list[str] | None,
        callbacks: Callbacks,
        kwargs: dict[str, Any],
    ) -> Any:
        """Calls a method that takes no config."""
        model, config, held = self._innermost(RunnableConfig(callbacks=callbacks))
        given = {**held, **kwargs}
        if stop is not None:
            given["stop"] = stop
        run = {name: config[name] for name in RUN_OPTIONS if config.get(name)}  # type: ignore[literal-required]
        context = copy_context()
        context.run(var_child_runnable_config.set, ensure_config(within_run(config)))
        call = partial(getattr(model, method), messages, callbacks=config.get("callbacks"))
        return context.run(partial(call, **{**run, **given}))

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
