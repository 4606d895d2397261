"""Retries, fallbacks and configurable models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import (
    ConfigurableFieldSingleOption,
    Runnable,
    RunnableConfig,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.configurable import (
    DynamicRunnable,
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.retry import RunnableRetry

from amulet_integrations.client import AmuletClient

from .binding import AmuletBinding
from .call_config import config_for, merged, within_run
from .model_wrapper import AnyModel, Change, ModelWrapper, NextCall

Config = RunnableConfig | None
Configs = Config | Sequence[RunnableConfig]


class AmuletRetry(ModelWrapper, RunnableRetry[LanguageModelInput, Any]):  # type: ignore[misc, no-redef]
    """A model that is called again where it fails."""

    langchains: ClassVar[type] = RunnableRetry
    only_model: ClassVar[str] = "bound"

    def __getattr__(self, name: str) -> Any:
        # LangChain's retry has none of the model's attributes, such as its profile.
        return getattr(self.bound, name)


class AmuletFallbacks(ModelWrapper, RunnableWithFallbacks[LanguageModelInput, Any]):  # type: ignore[misc]
    """A model with others that answer where it fails; they may be of other packages."""

    langchains: ClassVar[type] = RunnableWithFallbacks

    @property
    def models(self) -> list[Any]:
        """The model and its fallbacks."""
        return [self.runnable, *self.fallbacks]

    def change_models(self, change: Change) -> Any:
        """The same fallbacks, of other models."""
        others = [change(model) for model in self.fallbacks]
        return self.with_fields(runnable=change(self.runnable), fallbacks=others)


# Without parameters: with them pydantic would take no model but one of the parametrised class.


class _Configurable(ModelWrapper, DynamicRunnable):  # type: ignore[misc, type-arg]
    """A model that a config prepares."""

    merges_configs: ClassVar[bool] = True

    def prepare(self, config: Config = None) -> tuple[AnyModel, RunnableConfig]:
        """As `DynamicRunnable.prepare`; what is bound counts more than the surrounding run."""
        model, config, _ = self.next_call(config)
        if isinstance(model, DynamicRunnable):
            return model.prepare(config)
        return model, config_for(model, config)

    def next_call(self, config: Config) -> NextCall:
        """The model that a config chooses."""
        return *self._prepare(merged(self.config, config)), {}

    # LangChain's batches take the values of the run for the call's own before anything is prepared.

    def batch(self, inputs: list[Any], config: Configs = None, **kwargs: Any) -> list[Any]:
        return super().batch(inputs, self._configs(config, inputs), **kwargs)

    def abatch(
        self, inputs: list[Any], config: Configs = None, **kwargs: Any
    ) -> Coroutine[Any, Any, list[Any]]:
        return super().abatch(inputs, self._configs(config, inputs), **kwargs)

    def batch_as_completed(
        self, inputs: Sequence[Any], config: Configs = None, **kwargs: Any
    ) -> Iterator[tuple[int, Any]]:
        return super().batch_as_completed(inputs, self._configs(config, inputs), **kwargs)

    def abatch_as_completed(
        self, inputs: Sequence[Any], config: Configs = None, **kwargs: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        return super().abatch_as_completed(inputs, self._configs(config, inputs), **kwargs)

    def _configs(self, given: Configs, inputs: Sequence[Any]) -> list[RunnableConfig]:
        """The config of each input, whose values are its own and those that are bound."""
        configs = get_config_list(given, len(inputs))
        own = given if isinstance(given, Sequence) else [given] * len(inputs)
        for config, one in zip(configs, own, strict=True):
            config["configurable"] = merged(self.config, one).get("configurable", {})
        return configs


class AmuletConfigurableFields(_Configurable, RunnableConfigurableFields):  # type: ignore[misc, type-arg]
    """A model whose fields a config may set."""

    langchains: ClassVar[type] = RunnableConfigurableFields
    only_model: ClassVar[str] = "default"

    def configurable_names(self) -> set[str]:
        """The configurable fields."""
        return {*self.fields, *super().configurable_names()}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; the fields stay configurable."""
        return self._bound_as(self.default.bind_tools(tools, **kwargs))  # type: ignore[attr-defined]

    def make_structured(self, schema: Any, kwargs: dict[str, Any]) -> AnyModel:
        """As `ModelWrapper.make_structured`; the fields stay configurable."""
        made = self.default.with_structured_output(schema, **kwargs)  # type: ignore[attr-defined]
        if isinstance(made, RunnableSequence):
            return RunnableSequence(self._bound_as(made.first), *made.middle, made.last)
        return self._bound_as(made)

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`; the fields so far stay configurable."""
        return self.with_fields(fields={**self.fields, **fields})

    def _bound_as(self, made: Runnable[Any, Any]) -> AnyModel:
        """This model, with what was bound to its default."""
        if isinstance(made, AmuletBinding) and made.bound is self.default:
            return made.with_fields(bound=self)
        return self.with_fields(default=made)

    def _prepare(self, config: Config = None) -> tuple[AnyModel, RunnableConfig]:
        configured = within_run(config)
        default: Any = self.default
        if not isinstance(default, AmuletClient):
            return super()._prepare(configured)[0], config or {}
        base = default.of_model(self._configured_model(configured))
        with base.sharing_registry():
            fields = self if base is default else self.with_fields(default=base)
            prepared: Any = super(AmuletConfigurableFields, fields)._prepare(configured)[0]
        if prepared is not default:
            prepared.describe_anew(default)
        return prepared, config or {}

    def _configured_model(self, config: RunnableConfig) -> str | None:
        """The model that a config names; a given engine does not run it."""
        field = self.fields.get("model")
        value = config.get("configurable", {}).get(field.id) if field else None
        if isinstance(field, ConfigurableFieldSingleOption):
            return cast("str | None", field.options.get(value or field.default))
        return value


class AmuletConfigurableAlternatives(_Configurable, RunnableConfigurableAlternatives):  # type: ignore[misc, type-arg]
    """Several models, of which a config chooses one; they may be of other packages."""

    langchains: ClassVar[type] = RunnableConfigurableAlternatives

    @property
    def models(self) -> list[Any]:
        """The models, but for those that are made when they are chosen."""
        others = [model for model in self.alternatives.values() if isinstance(model, Runnable)]
        return [self.default, *others]

    def change_models(self, change: Change) -> Any:
        """The same alternatives, of other models."""
        others = {name: _changed(model, change) for name, model in self.alternatives.items()}
        return self.with_fields(default=change(self.default), alternatives=others)

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`, of the default model."""
        default = self.default.configurable_fields(**fields)
        return self.with_fields(default=default)

    def _prepare(self, config: Config = None) -> tuple[AnyModel, RunnableConfig]:
        prepared, changed = super()._prepare(within_run(config))
        return prepared, changed if self.prefix_keys else (config or {})


def _changed(model: Runnable[Any, Any] | Callable[[], Runnable[Any, Any]], change: Change) -> Any:
    """The changed model; one that is made when it is chosen is changed then."""
    if isinstance(model, Runnable):
        return change(model)
    return lambda: change(model())
