"""Checks finished values against what a grammar could not enforce of their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import regex

from amulet_integrations.errors import UnsupportedGrammarError

from .schema_to_grammar import enforced_schema

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_PATTERN_SECONDS = 1.0
_SHOWN = 160  # characters of a fault


def fault_of(schema: Mapping[str, Any], value: Any, *, of_arguments: bool = False) -> str:
    """What is wrong with a finished value.

    It is compared with the whole schema, unless the grammar enforced all of it.

    Args:
        schema: The JSON schema, as the caller gave it.
        value: The value, as `json.loads` returns it.
        of_arguments: Whether the schema describes the arguments of a tool.

    Returns:
        A sentence with the place in the value; "" where nothing is wrong.
    """
    if not enforced_schema(schema, of_arguments=of_arguments).unenforced:
        return ""
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - few schemas need it
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    try:
        error = best_match(_validator(json.dumps(dict(schema))).iter_errors(value))
    except Unresolvable as unresolvable:
        return f"A reference of its schema leads nowhere: {str(unresolvable)[:_SHOWN]}."
    if error is None:
        return ""
    return f"At {error.json_path}: {_shortened(error.message)} ({error.validator})."


def fault_in_text(schema: Mapping[str, Any], text: str) -> str:
    """As `fault_of`, for the JSON text of a value."""
    if not enforced_schema(schema).unenforced:
        return ""
    try:
        return fault_of(schema, json.loads(text))
    except ValueError as error:
        return f"It is no JSON: {error}."


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

    validator = _validator(json.dumps(dict(schema)))
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(("#", *map(str, error.absolute_path)))
        raise UnsupportedGrammarError(
            f"The schema is no JSON schema: at {place}: {error.message[:_SHOWN]}. Correct it."
        ) from None


@lru_cache(maxsize=256)
def _validator(text: str) -> Validator:
    from referencing.jsonschema import EMPTY_REGISTRY  # noqa: PLC0415

    schema = json.loads(text)
    # Without a registry, jsonschema would look for references on the network.
    return _validator_class(str(schema.get("$schema", "")))(schema, registry=EMPTY_REGISTRY)


@cache
def _validator_class(dialect: str) -> Any:
    from jsonschema.validators import Draft202012Validator, extend, validator_for  # noqa: PLC0415

    known = validator_for({"$schema": dialect}, default=Draft202012Validator)
    return extend(known, {"pattern": _check_pattern})


def _check_pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    """As jsonschema's own, with Unicode properties, and with an end to the search."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if not validator.is_type(value, "string"):
        return
    try:
        found = regex.search(pattern, value, timeout=_PATTERN_SECONDS)
    except TimeoutError:
        yield ValidationError(f"{pattern!r} takes too long to be searched for")
        return
    if not found:
        yield ValidationError(f"{value!r} does not match {pattern!r}")
