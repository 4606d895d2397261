"""Checks finished values against what a grammar could not enforce of their schema."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from functools import cache, wraps
from typing import Any

import regex

from amulet_integrations.errors import UnsupportedGrammarError

from .patterns import check_pattern, compiled_pattern
from .schema_to_grammar import enforced_schema
from .shape import MAPS, iter_objects, map_subschemas

_SECONDS = 1.0  # of one whole check
_SHOWN = 160  # characters of a fault
_VALUES = frozenset({"const", "enum", "default", "example", "examples"})
_PATTERNS = "patternProperties"
_REPLACED = f"x-{_PATTERNS}"

# When the check that is running has to be over, by `time.monotonic`.
_ends_at: ContextVar[float] = ContextVar("_ends_at")


def is_compared(schema: Mapping[str, Any], *, of_arguments: bool = False) -> bool:
    """Whether finished values are compared with a schema, since a grammar cannot enforce all of it.

    Args:
        schema: The JSON schema, as the caller gave it.
        of_arguments: Whether it describes the arguments of a tool.
    """
    return bool(enforced_schema(schema, of_arguments=of_arguments).unenforced)


def fault_of(schema: Mapping[str, Any], value: Any, *, of_arguments: bool = False) -> str:
    """What is wrong with a finished value.

    It is compared with the whole schema, unless the grammar enforced all of it. A value that takes
    longer than a second to be compared is at fault.

    Args:
        schema: The JSON schema, as the caller gave it.
        value: The value, as `json.loads` returns it.
        of_arguments: Whether the schema describes the arguments of a tool.

    Returns:
        A sentence with the place in the value; "" where nothing is wrong.
    """
    if not is_compared(schema, of_arguments=of_arguments):
        return ""
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - few schemas need it

    try:
        return _first_fault(json.loads(json.dumps(dict(schema))), value)
    except Unresolvable as unresolvable:
        fault = f"A reference of its schema leads nowhere: {str(unresolvable)[:_SHOWN]}."
    except regex.error as invalid:
        fault = f"A pattern of its schema is no regular expression: {invalid}."
    except TimeoutError:
        fault = f"It takes longer than {_SECONDS:g} s to compare it with its schema."
    except RecursionError:
        fault = "It is nested too deeply to be compared with its schema."
    return fault


def fault_in_text(schema: Mapping[str, Any], text: str) -> str:
    """As `fault_of`, for the JSON text of a value."""
    if not is_compared(schema):
        return ""
    try:
        return fault_of(schema, json.loads(text))
    except ValueError as error:
        return f"It is no JSON: {error}."


def _first_fault(schema: dict[str, Any], value: Any) -> str:
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    with _time_limit():
        written = _with_names_for_patterns(schema, _names(value))
        error = best_match(_validator(written).iter_errors(value))
    if error is None:
        return ""
    return f"At {error.json_path}: {_shortened(error.message)} ({error.validator})."


def _shortened(message: str) -> str:
    """A message whose end says what is wrong with the value at its beginning."""
    half = _SHOWN // 2
    return message if len(message) <= _SHOWN else f"{message[:half]} ... {message[-half:]}"


def check_can_be_checked(schema: Mapping[str, Any]) -> None:
    """Refuses a schema that finished values cannot be compared with.

    Raises:
        UnsupportedGrammarError: The message names the place.
    """
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415

    _check_patterns(dict(schema), "#")
    try:
        # Formats are left out: they would hold patterns to be those of Python.
        _validator_class(_dialect(schema)).check_schema(schema, format_checker=None)
    except SchemaError as error:
        place = "/".join(("#", *map(str, error.absolute_path)))
        raise UnsupportedGrammarError(
            f"The schema is no JSON schema: at {place}: {error.message[:_SHOWN]}. Correct it."
        ) from None


def _check_patterns(schema: dict[str, Any], pointer: str) -> None:
    if isinstance(schema.get("pattern"), str):
        check_pattern(schema["pattern"], pointer)
    for pattern in schema.get(_PATTERNS, ()):
        check_pattern(pattern, pointer)

    def check_inner(inner: Any, _keyword: str, place: str) -> Any:
        if isinstance(inner, dict):
            _check_patterns(inner, place)
        return inner

    map_subschemas(schema, check_inner, pointer)


def _names(value: Any) -> frozenset[str]:
    return frozenset(name for found in iter_objects(value) for name in found)


def _with_names_for_patterns(schema: Any, names: Iterable[str]) -> Any:
    """A schema in which patterns of names are replaced by those of `names` that they match.

    jsonschema would search for the patterns with Python's `re`, in three of its keywords. That
    knows no Unicode properties, and a search may take for ever.
    """
    if isinstance(schema, list):
        return [_with_names_for_patterns(inner, names) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _VALUES:
            written[keyword] = value
        elif keyword in MAPS and isinstance(value, dict):
            inner = {name: _with_names_for_patterns(it, names) for name, it in value.items()}
            written[_REPLACED if keyword == _PATTERNS else keyword] = inner
        elif keyword == "$ref" and isinstance(value, str):
            written[keyword] = value.replace(f"/{_PATTERNS}/", f"/{_REPLACED}/")
        else:
            written[keyword] = _with_names_for_patterns(value, names)
    for pattern, inner in written.get(_REPLACED, {}).items():
        matched = [name for name in names if _is_found(pattern, name)]
        part = {"properties": dict.fromkeys(matched, inner)}
        written["allOf"] = [*written.get("allOf", ()), part]
        written["properties"] = {name: {} for name in matched} | written.get("properties", {})
    return written


def _validator(schema: dict[str, Any]) -> Any:
    from referencing.jsonschema import EMPTY_REGISTRY  # noqa: PLC0415

    # Without a registry, jsonschema would look for references on the network.
    return _validator_class(_dialect(schema))(schema, registry=EMPTY_REGISTRY)


def _dialect(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$schema", ""))


@cache
def _validator_class(dialect: str) -> Any:
    from jsonschema.validators import Draft202012Validator, extend, validator_for  # noqa: PLC0415

    known = validator_for({"$schema": dialect}, default=Draft202012Validator)
    own = {
        "pattern": _check_pattern,
        "uniqueItems": _check_unique,
        "multipleOf": _check_multiple,
    }
    checks = {**known.VALIDATORS, **own}
    return extend(known, {keyword: _in_time(check) for keyword, check in checks.items()})


@contextmanager
def _time_limit() -> Iterator[None]:
    token = _ends_at.set(time.monotonic() + _SECONDS)
    try:
        yield
    finally:
        _ends_at.reset(token)


def _time_left() -> float:
    """The seconds that the running check has.

    Raises:
        TimeoutError: It has none.
    """
    left = _ends_at.get(float("inf")) - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _in_time(check: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword's check, which does not begin when the time is over."""

    @wraps(check)
    def checked(*args: Any) -> Any:
        _time_left()
        return check(*args)

    return checked


def _is_found(pattern: str, text: str) -> bool:
    return compiled_pattern(pattern).search(text, timeout=_time_left()) is not None


def _check_pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    """As jsonschema's own, with Unicode properties, and with an end to the search."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if validator.is_type(value, "string") and not _is_found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_unique(validator: Any, wanted: bool, value: Any, _schema: Any) -> Iterator[Any]:
    """As jsonschema's own, which compares every object with every other."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if wanted and validator.is_type(value, "array") and len(set(map(_key, value))) < len(value):
        yield ValidationError(f"{value!r} has non-unique elements")


def _check_multiple(validator: Any, step: float, value: Any, _schema: Any) -> Iterator[Any]:
    """As jsonschema's own, with the decimals that were written: 0.07 is a multiple of 0.01."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if validator.is_type(value, "number") and Fraction(str(value)) % Fraction(str(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step!r}")


def _key(value: Any) -> Any:
    """What two JSON values have alike if they are equal: 1 is 1.0, and no boolean."""
    if isinstance(value, dict):
        return frozenset((name, _key(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return (list, *map(_key, value))
    return (bool, value) if isinstance(value, bool) else value
