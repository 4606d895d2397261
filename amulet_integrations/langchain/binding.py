"""A chat model with arguments and a config bound to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import CONFIG_KEYS, merge_configs, var_child_runnable_config

from amulet_integrations.client import without_unset
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.personalization.validated_call import ValidatedCall
from amulet_integrations.profiles.scope import NAMES
from amulet_integrations.prompting.openai_compat.openai_tools import tool_list

from .call_arguments import RUN_OPTIONS
from .model_wrapper import AnyModel, Change, ModelWrapper, Wrappable, stands_for, within_run
from .tools import to_openai_tools

Config = RunnableConfig | None
T = TypeVar("T")

# What LangChain binds beside a response format, for tracers.
_TRACED = ("ls_structured_output_format", "structured_output_format")

# The fields of arguments that have another name.
_FIELDS = {"max_new_tokens": "max_tokens", "profile": "preference_profile"}

# The named arguments of `bind_tools` and `with_structured_output`. Any other None is a value: it
# replaces what is bound.
_DEFAULTS = ("tool_choice", "parallel_tool_calls", "strict", "tools")


@stands_for(RunnableBinding)
class AmuletBinding(ModelWrapper, RunnableBinding[LanguageModelInput, Any]):  # type: ignore[no-redef]
    """A binding that serialises without preferences, and that keeps the scope of the call.

    Raises:
        PreferenceSelectionError: A bound preference or profile is of a wrong type.
        InvalidProfileError: A bound preference or profile is not valid.
    """

    def __init__(self, **fields: Any) -> None:
        hidden = _with_hidden_preferences(fields.get("kwargs") or {})
        super().__init__(**{**fields, "kwargs": hidden})

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; what is bound stays bound, tools are added to its tools."""
        given = {**self.kwargs, **_without_defaults(kwargs)}
        if bound := given.pop("tools", None):
            tools = [*bound, *to_openai_tools(tool_list(tools), given.pop("strict", None))]
        return self._around(self.bound.bind_tools(tools, **given))  # type: ignore[attr-defined]

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.with_structured_output`; what is bound stays bound.

        Tools that are bound become its `tools`.
        """
        given = {name: value for name, value in self.kwargs.items() if name not in _TRACED}
        given |= _without_defaults(kwargs)
        if bound := self.kwargs.get("tools"):
            given["tools"] = [*bound, *tool_list(kwargs.get("tools") or ())]
        return self._around(self.bound.with_structured_output(schema, **given))  # type: ignore[attr-defined]

    def with_config(self, config: Config = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`; what an earlier config set is kept."""
        return self.with_fields(config=_merged(self.config, {**(config or {}), **kwargs}))

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`, of the model inside.

        Raises:
            InvalidParamsError: One of the fields is bound, so no config could set it.
        """
        bound = {_FIELDS.get(name, name) for name in without_unset(self.kwargs)}
        if taken := sorted(fields.keys() & bound):
            raise InvalidParamsError(
                f"{taken[0]}= is bound, so a config could not set it. Make the field configurable "
                "and bind nothing to it, or give the value to the constructor."
            )
        return super().configurable_fields(**fields)

    def change_models(self, change: Change) -> Any:
        """The same binding around another model."""
        return self.with_fields(bound=change(self.bound))

    def for_user(self, user_id: str) -> Any:
        """As `ChatAmulet.for_user`; it replaces a user who is bound."""
        return self._of_nobody.change_models(lambda model: model.for_user(user_id))

    def plain(self) -> Any:
        """As `ChatAmulet.plain`; it replaces a user who is bound."""
        return self._of_nobody.change_models(lambda model: model.plain())

    @property
    def _of_nobody(self) -> AmuletBinding:
        return self.with_fields(
            kwargs={name: value for name, value in self.kwargs.items() if name not in NAMES}
        )

    def _around(self, made: Runnable[LanguageModelInput, Any]) -> AnyModel:
        """What was made of the bound model, with this binding's config around it."""
        around = {
            "config": self.config,
            "config_factories": self.config_factories,
            "custom_input_type": self.custom_input_type,
        }
        if not any(around.values()):
            return made
        if not isinstance(made, Wrappable):  # its answers are no messages any more
            return RunnableBinding(bound=made, **around)
        around["custom_output_type"] = self.custom_output_type
        if isinstance(made, AmuletBinding) and not made.config and not made.config_factories:
            return made.with_fields(**around)
        return AmuletBinding(bound=made, **around)

    def _merge_configs(self, *configs: Config) -> RunnableConfig:
        merged = super()._merge_configs(*configs)
        return merged if any(configs) else within_run(merged)

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

    # LangChain has these only on models. What is bound would be lost there.

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `BaseChatModel.generate`, with what is bound."""
        method: Callable[..., LLMResult] = self.bound.generate  # type: ignore[attr-defined]
        return self._run(method, messages, stop, callbacks, kwargs)

    def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate`, with what is bound."""
        return self._run(self.bound.agenerate, messages, stop, callbacks, kwargs)  # type: ignore[attr-defined]

    def generate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `BaseChatModel.generate_prompt`, with what is bound."""
        return self.generate([it.to_messages() for it in prompts], stop, callbacks, **kwargs)

    def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate_prompt`, with what is bound."""
        return self.agenerate([it.to_messages() for it in prompts], stop, callbacks, **kwargs)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """As `ChatAmulet.get_num_tokens_from_messages`; tools that are bound count, too."""
        described = [*self.kwargs.get("tools", ()), *(tools or ())]
        return cast("int", self.bound.get_num_tokens_from_messages(messages, described))  # type: ignore[attr-defined]

    def _run(
        self,
        method: Callable[..., T],
        messages: list[list[BaseMessage]],
        stop: list[str] | None,
        callbacks: Callbacks,
        kwargs: dict[str, Any],
    ) -> T:
        """Calls a method that takes no config."""
        given = {**self.kwargs, **kwargs}
        if stop is not None:
            given["stop"] = stop
        if not self.config and not self.config_factories:
            return method(messages, callbacks=callbacks, **given)
        config = self._merge_configs(RunnableConfig(callbacks=callbacks))
        run = {name: config[name] for name in RUN_OPTIONS if config.get(name)}  # type: ignore[literal-required]
        context = copy_context()
        context.run(var_child_runnable_config.set, config)
        return context.run(
            partial(method, messages, callbacks=config.get("callbacks"), **{**run, **given})
        )

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
        return self.bound.stream(input, config, **{**self.kwargs, **kwargs})

    def astream(  # noqa: D102
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        config = self._merge_configs(config)
        return self.bound.astream(input, config, **{**self.kwargs, **kwargs})


def _without_defaults(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that agents pass as None, and that are bound perhaps."""
    return {name: it for name, it in kwargs.items() if it is not None or name not in _DEFAULTS}


def _merged(old: RunnableConfig, new: Mapping[str, Any]) -> RunnableConfig:
    """Two configs as one; of a value that both set, the new one counts."""
    others = {name: value for name, value in new.items() if name not in CONFIG_KEYS}
    if others:  # to LangChain, unknown keys are configurable
        new = {name: value for name, value in new.items() if name in CONFIG_KEYS}
        new = {**new, "configurable": {**new.get("configurable", {}), **others}}
    merged = {**old, **new}
    for name in ("configurable", "metadata"):
        if old.get(name) and new.get(name):
            merged[name] = {**old[name], **new[name]}
    if old.get("tags") and new.get("tags"):
        merged["tags"] = [*old["tags"], *new["tags"]]
    if old.get("callbacks") and new.get("callbacks"):
        both = merge_configs({"callbacks": old["callbacks"]}, {"callbacks": new["callbacks"]})
        merged["callbacks"] = both["callbacks"]
    return cast("RunnableConfig", merged)


def _with_hidden_preferences(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with preferences as objects, whose serialised forms have no text."""
    hidden = dict(arguments)
    for name in ("preference", "profile"):
        if arguments.get(name) is not None:
            hidden[name] = getattr(PreferenceSelection(**{name: arguments[name]}), name)
    return hidden
