"""The methods that wrap a chat model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import ConfigurableField

STAND_INS: dict[type, Any] = {}
"""LangChain's wrappers, with the class of ours that stands in for each around a `ChatAmulet`."""


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


def _kept(wrapper: Any) -> Any:
    """The wrapper of ours in the place of one that LangChain has made."""
    if isinstance(wrapper, Wrappable):
        return wrapper
    ours = next((STAND_INS[it] for it in type(wrapper).__mro__ if it in STAND_INS), None)
    return wrapper if ours is None else ours(**fields_of(wrapper))


def fields_of(wrapper: Any) -> dict[str, Any]:
    """The arguments that make an equal wrapper."""
    return {name: getattr(wrapper, name) for name in type(wrapper).model_fields}
