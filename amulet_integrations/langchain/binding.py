"""A chat model with arguments and a config bound to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.langchain.structured.configured_output import ConfiguredOutput
from amulet_integrations.personalization.call_options import SELECTION_ARGUMENTS, without_unset
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles.scope import NAMES
from amulet_integrations.prompting.openai_compat.openai_tools import tool_list

from .call_arguments import BOUND_SELECTION
from .call_config import config_for, merged, with_factories
from .internal_calls import STRUCTURED
from .model_wrapper import AnyModel, ModelWrapper, NextCall
from .tools import to_openai_tools
from .wrappable import Wrappable

Config = RunnableConfig | None

# The fields of arguments that have another name.
_FIELDS = {"max_new_tokens": "max_tokens", "profile": "preference_profile"}

# The named arguments of `bind_tools` and `with_structured_output`. Any other None is a value: it
# replaces what is bound.
_DEFAULTS = ("tool_choice", "parallel_tool_calls", "strict", "tools")


class AmuletBinding(ModelWrapper, RunnableBinding[LanguageModelInput, Any]):  # type: ignore[misc, no-redef]
    """A binding that serialises without preferences, and that keeps the scope of the call.

    Raises:
        PreferenceSelectionError: A bound preference or profile is of a wrong type.
        InvalidProfileError: A bound preference or profile is not valid.
        InvalidParamsError: A bound argument is a configurable field, so no config could set it.
    """

    langchains: ClassVar[type] = RunnableBinding
    only_model: ClassVar[str] = "bound"
    merges_configs: ClassVar[bool] = True

    def __init__(self, **fields: Any) -> None:
        hidden = _with_hidden_preferences(fields.get("kwargs") or {})
        _refuse_configurable(fields.get("bound"), hidden)
        super().__init__(**{**fields, "kwargs": hidden})

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; what is bound stays bound, tools are added to its tools."""
        given = {**self.kwargs, **_without_defaults(kwargs)}
        if bound := given.pop("tools", None):
            tools = [*bound, *to_openai_tools(tool_list(tools), given.pop("strict", None))]
        return self._around(self.bound.bind_tools(tools, **given))  # type: ignore[attr-defined]

    def make_structured(self, schema: Any, kwargs: dict[str, Any]) -> AnyModel:
        """As `ModelWrapper.make_structured`; tools that are bound become its `tools`."""
        given = {name: value for name, value in self.kwargs.items() if name not in STRUCTURED}
        given |= _without_defaults(kwargs)
        if bound := self.kwargs.get("tools"):
            given["tools"] = [*bound, *tool_list(kwargs.get("tools") or ())]
        # Bound to a model they may be for its answers; an agent's decisions tell them apart.
        earlier = [name for name in SELECTION_ARGUMENTS if name in given and name not in kwargs]
        selection = {name: given.pop(name) for name in earlier} | kwargs.get(BOUND_SELECTION, {})
        if selection:
            given[BOUND_SELECTION] = selection
        return self._around(self.bound.with_structured_output(schema, **given))  # type: ignore[attr-defined]

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
            return ConfiguredOutput(bound=made, **around)
        around["custom_output_type"] = self.custom_output_type
        if isinstance(made, AmuletBinding) and not made.config and not made.config_factories:
            return made.with_fields(**around)
        return AmuletBinding(bound=made, **around)

    def next_call(self, config: Config) -> NextCall:
        """The model inside, with what is bound to it."""
        config = with_factories(merged(self.config, config), self.config_factories)
        return self.bound, config, dict(self.kwargs)

    def _merge_configs(self, *configs: Config) -> RunnableConfig:
        given = reduce(merged, configs, RunnableConfig())
        return config_for(self.bound, self.next_call(given)[1])

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


def _refuse_configurable(model: Any, bound: Mapping[str, Any]) -> None:
    """Refuses arguments that are configurable fields of a model: no config could set them."""
    if not isinstance(model, ModelWrapper):
        return
    names = {_FIELDS.get(name, name) for name in without_unset(bound)}
    if taken := sorted(names & model.configurable_names()):
        raise InvalidParamsError(
            f"{taken[0]}= is bound, so a config could not set it. Make the field configurable "
            "and bind nothing to it, or give the value to the constructor."
        )


def _with_hidden_preferences(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with preferences as objects, whose serialised forms have no text."""
    hidden = dict(arguments)
    for name in ("preference", "profile"):
        if arguments.get(name) is not None:
            hidden[name] = getattr(PreferenceSelection(**{name: arguments[name]}), name)
    return hidden
