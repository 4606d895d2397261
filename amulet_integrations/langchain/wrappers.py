"""Retries, fallbacks and configurable models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.retry import RunnableRetry

from amulet_integrations.client import AmuletClient

from .binding import AmuletBinding
from .model_wrapper import AnyModel, Change, ModelWrapper, stands_for, within_run


@stands_for(RunnableRetry)
class AmuletRetry(ModelWrapper, RunnableRetry[LanguageModelInput, Any]):  # type: ignore[no-redef]
    """A model that is called again where it fails."""

    def change_models(self, change: Change) -> Any:
        """The same retry around another model."""
        return self.with_fields(bound=change(self.bound))

    def __getattr__(self, name: str) -> Any:
        # LangChain's retry has none of the model's attributes, such as its profile.
        return getattr(self.bound, name)


@stands_for(RunnableWithFallbacks)
class AmuletFallbacks(ModelWrapper, RunnableWithFallbacks[LanguageModelInput, Any]):
    """A model with others that answer where it fails; they may be of other packages."""

    def change_models(self, change: Change) -> Any:
        """The same fallbacks, of other models."""
        others = [change(model) for model in self.fallbacks]
        return self.with_fields(runnable=change(self.runnable), fallbacks=others)


# Without parameters: with them pydantic would take no model but one of the parametrised class.


@stands_for(RunnableConfigurableFields)
class AmuletConfigurableFields(ModelWrapper, RunnableConfigurableFields):  # type: ignore[type-arg]
    """A model whose fields a config may set."""

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`; what an earlier config set is kept."""
        return _with_config(self, config, kwargs)

    def change_models(self, change: Change) -> Any:
        """The same configurable fields, of another model."""
        return self.with_fields(default=change(self.default))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.bind_tools`; the fields stay configurable."""
        return self._bound_as(self.default.bind_tools(tools, **kwargs))  # type: ignore[attr-defined]

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> AnyModel:
        """As `ChatAmulet.with_structured_output`; the fields stay configurable."""
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

    def _prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[LanguageModelInput, Any], RunnableConfig]:
        prepared, config = super()._prepare(within_run(config or {}))
        models: list[Any] = [prepared, self.default]
        if all(isinstance(model, AmuletClient) for model in models):
            prepared.share_with(self.default)  # type: ignore[attr-defined]
        return prepared, config


@stands_for(RunnableConfigurableAlternatives)
class AmuletConfigurableAlternatives(ModelWrapper, RunnableConfigurableAlternatives):  # type: ignore[type-arg]
    """Several models, of which a config chooses one; they may be of other packages."""

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `Runnable.with_config`; what an earlier config set is kept."""
        return _with_config(self, config, kwargs)

    def change_models(self, change: Change) -> Any:
        """The same alternatives, of other models."""
        others = {name: _changed(model, change) for name, model in self.alternatives.items()}
        return self.with_fields(default=change(self.default), alternatives=others)

    def configurable_fields(self, **fields: Any) -> Any:
        """As `RunnableSerializable.configurable_fields`, of the default model."""
        default = self.default.configurable_fields(**fields)
        return self.with_fields(default=default)

    def _prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[LanguageModelInput, Any], RunnableConfig]:
        return super()._prepare(within_run(config or {}))


def _changed(model: Runnable[Any, Any] | Callable[[], Runnable[Any, Any]], change: Change) -> Any:
    """The changed model; one that is made when it is chosen is changed then."""
    if isinstance(model, Runnable):
        return change(model)
    return lambda: change(model())


def _with_config(
    model: AmuletConfigurableFields | AmuletConfigurableAlternatives,
    config: RunnableConfig | None,
    kwargs: dict[str, Any],
) -> Any:
    given: Any = {**(config or {}), **kwargs}
    return model.with_fields(config=merge_configs(model.config, given))
