"""The ranges of numeric arguments, and a decorator that checks a call against them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, ClassVar, ParamSpec, TypeVar, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, Strict, create_model

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.validation import FrozenModel

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_MIN_TOKENS = 64
DEFAULT_MIN_EXAMPLES = 5
"""Fewer examples hardly show how much answers differ, and the certainty of an estimate depends on
that."""


def _refuse_lookalikes(value: Any) -> Any:
    """Refuses what pydantic would read as a number: true and false, and digits in a string."""
    if isinstance(value, bool | str):
        raise ValueError("Give a number")  # noqa: TRY004 - pydantic catches this one
    return value


def _list_of_array(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


_ARRAY = BeforeValidator(_list_of_array)
_NUMBER = BeforeValidator(_refuse_lookalikes)
Temperature = Annotated[float, _NUMBER, Field(ge=0.01, allow_inf_nan=False)]
"""Answers that were not sampled (at temperature 0) have no likelihood."""

Positive = Annotated[float, _NUMBER, Field(gt=0.0, allow_inf_nan=False)]
Odds = Annotated[float, _NUMBER, Field(gt=1.0, allow_inf_nan=False)]
Probability = Annotated[float, _NUMBER, Field(gt=0.0, lt=1.0)]
Share = Annotated[float, _NUMBER, Field(ge=0.0, lt=1.0)]
OptionalShare = Annotated[Share | None, Field()]
Count = Annotated[int, _NUMBER, Field(ge=1)]
Priors = Annotated[Sequence[Positive] | None, _ARRAY]
Separator = Annotated[str, Strict()]
TemplateVariables = Annotated[Mapping[str, Any] | None, Field()]
Profile = Annotated[InstanceOf[PreferenceProfile], Field(repr=False)]


class _Arguments(FrozenModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)
    error_type: ClassVar[type[AmuletError]] = InvalidParamsError


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Has pydantic check every argument whose type is an `Annotated` one.

    The checked call raises InvalidParamsError where an argument is of another type or out of its
    range.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ...)
        for name in signature.parameters
        if get_origin(hints[name]) is Annotated
    }
    model = create_model(function.__name__, __base__=_Arguments, **fields)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = model(**{name: bound.arguments[name] for name in fields})
        bound.arguments.update((name, getattr(values, name)) for name in fields)
        return function(*bound.args, **bound.kwargs)

    return call
