"""Pydantic models whose validation errors are this package's, in one readable line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from amulet_integrations.errors import AmuletError, UnknownArgumentError, joined_places
from amulet_integrations.suggestions import suggest

F = TypeVar("F", bound=Callable[..., Any])

_MAX_SHOWN = 80  # characters of a bad value in a message


def as_amulet_error(
    error: ValidationError, owner: type[BaseModel], kind: type[AmuletError]
) -> AmuletError:
    """Turns a pydantic error into an `AmuletError`.

    Args:
        error: The error of pydantic.
        owner: The model that was validated; its fields are suggested for misspelt names, and the
            names in its `also_known`, which it takes besides.
        kind: The class of error for a bad value.

    Returns:
        An `UnknownArgumentError` where all faults are unknown names; the `AmuletError` of a
        validator where that is the only fault; otherwise a `kind` whose message names each field,
        its value and what was expected.
    """
    faults = error.errors(include_url=False)
    cause = faults[0].get("ctx", {}).get("error")
    if len(faults) == 1 and isinstance(cause, AmuletError):
        cause.param = _param(faults[0])
        return cause
    if all(fault["type"] == "extra_forbidden" for fault in faults):
        unknown = UnknownArgumentError.for_names(
            owner.__name__,
            {str(fault["loc"][-1]): fault["input"] for fault in faults},
            _argument_names(owner),
        )
        unknown.param = str(faults[0]["loc"][-1])
        return unknown
    lines = {_place(fault, owner): _line(fault, owner) for fault in reversed(faults)}
    return kind("; ".join(reversed(lines.values())), param=_param(faults[0]))


def _argument_names(owner: type[BaseModel]) -> set[str]:
    fields = owner.model_fields.items()
    also: Collection[str] = getattr(owner, "also_known", ())
    return {*(name for name, _ in fields), *(it.alias for _, it in fields if it.alias), *also}


def _place(fault: ErrorDetails, owner: type[BaseModel]) -> str:
    """The field and the index in it, without pydantic's names for members of a union."""
    first, *inner = fault["loc"] or (owner.__name__,)
    return ".".join([str(first), *(str(part) for part in inner if isinstance(part, int))])


def _param(fault: ErrorDetails) -> str | None:
    """The place of a fault as errors name it: `preferences[5].text`."""
    cause = fault.get("ctx", {}).get("error")
    inner = cause.param if isinstance(cause, AmuletError) else None
    if not fault["loc"]:
        return inner
    first, *more = fault["loc"]
    indices = "".join(f"[{part}]" for part in more if isinstance(part, int))
    return joined_places(f"{first}{indices}", inner)


def _line(fault: ErrorDetails, owner: type[BaseModel]) -> str:
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, AmuletError):
        return str(cause)
    place = _place(fault, owner)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{place} is missing"
    if fault["type"] == "extra_forbidden":
        # The value may be a private text under a misspelt name.
        suggested = suggest({place: fault["input"]}, _argument_names(owner)).get(place)
        hint = f" (did you mean {suggested}?)" if suggested else ""
        return f"{place} is not a field of {owner.__name__}{hint}"
    if _is_private(fault, owner):
        return f"{place} is a {type(fault['input']).__name__}: {message[0].lower()}{message[1:]}"
    value = repr(fault["input"])
    shown = value if len(value) <= _MAX_SHOWN else value[: _MAX_SHOWN - 3] + "..."
    return f"{place}={shown}: {message[0].lower()}{message[1:]}"


def _is_private(fault: ErrorDetails, owner: type[BaseModel]) -> bool:
    """Whether the field is kept out of the `repr`, and so out of messages."""
    named = [name for name in fault["loc"] if name in owner.model_fields]
    return not named or not owner.model_fields[str(named[0])].repr


class FrozenModel(BaseModel):
    """An immutable value object that refuses unknown names and raises `AmuletError`s."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True
    )
    error_type: ClassVar[type[AmuletError]] = AmuletError

    def __init__(self, **data: Any) -> None:
        with self._convert_errors():
            super().__init__(**data)

    @classmethod
    @contextmanager
    def _convert_errors(cls) -> Iterator[None]:
        try:
            yield
        except ValidationError as error:
            # Not `from error`: pydantic's error quotes its input, and tracebacks are logged.
            raise as_amulet_error(error, cls, cls.error_type) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's, but raises `AmuletError`s."""
        with cls._convert_errors():
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's, but raises `AmuletError`s."""
        with cls._convert_errors():
            return super().model_validate_json(json_data, **options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed; unlike in pydantic, the changes are validated."""
        copy = super().model_copy(deep=deep)
        if not update:
            return copy
        fields = {name: getattr(copy, name) for name in copy.model_fields_set}
        return type(self)(**{**fields, **update})


def suggest_names(function: F) -> F:
    """Makes an unknown keyword argument an error that suggests the right one.

    Args:
        function: The function, or the `__init__` of a class; errors name the class then.
    """
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    known = signature(function).parameters.keys() - {"self"}

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if unknown := {key: value for key, value in kwargs.items() if key not in known}:
            raise UnknownArgumentError.for_names(name, unknown, known)
        return function(*args, **kwargs)

    return cast("F", checked)
