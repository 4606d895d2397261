"""Python types whose values are JSON objects: their schemas, and their values read back."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any, TypeGuard, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import is_typeddict

from amulet_integrations.errors import AmuletError, PromptError
from amulet_integrations.prompting.json_schema.annotations.docstrings import (
    own_docstring,
    split_docstring,
)
from amulet_integrations.prompting.json_schema.annotations.modern_types import (
    is_named_tuple,
    modern_type,
)

PydanticClass = type[BaseModel] | type[BaseModelV1]

_ACCEPTED = "a Pydantic model, a dataclass, a NamedTuple, a TypedDict or a JSON schema"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectType:
    """A type whose values are JSON objects.

    Attributes:
        name: The name of the type.
        json_schema: Its JSON schema, which has a title; not to be changed.
        read_json: Reads a JSON text as a value of the type; raises a ValueError where it is none.
        is_dict: Whether the values are dicts, so that one may be shown while it grows.
    """

    name: str
    json_schema: dict[str, Any]
    read_json: Callable[[str], Any]
    is_dict: bool = False

    @classmethod
    def of(cls, given: object) -> ObjectType:
        """What is known of a type.

        Args:
            given: A Pydantic model (of version 2 or 1), a dataclass, a NamedTuple or a TypedDict;
                a generic one with its arguments.

        Raises:
            PromptError: It is something else, or has no JSON schema.
        """
        if is_pydantic(given):
            return _explained(_of_pydantic, given)
        origin = get_origin(given) or given
        is_dataclass = isinstance(origin, type) and dataclasses.is_dataclass(origin)
        if is_dataclass or is_typeddict(origin) or is_named_tuple(origin):
            return _explained(_of_annotated, given)
        raise PromptError(_refusal(given))


def is_type(given: object) -> bool:
    """Whether something is a class, or a type with arguments, such as ``list[int]``."""
    return isinstance(given, type) or get_origin(given) is not None


def is_pydantic(given: object) -> TypeGuard[PydanticClass]:
    """Whether something is a Pydantic model, of version 2 or 1."""
    return isinstance(given, type) and issubclass(given, BaseModel | BaseModelV1)


def type_label(given: object) -> str:
    """A short name of a type, or of a schema, for messages."""
    name = getattr(given, "__name__", None) if get_origin(given) is None else None
    return name or str(given)[:80]


def without_unique_items(schema: Any) -> Any:
    """A type's schema without `uniqueItems`.

    A set takes a repeated item once. So repetition is no fault, and a grammar cannot prevent it.
    """
    if isinstance(schema, list):
        return [without_unique_items(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_unique_items(value)
        for key, value in schema.items()
        if not (key == "uniqueItems" and value is True)
    }


class _TypeSchema(GenerateJsonSchema):
    """Schemas of types, with NamedTuples as objects; see also `without_unique_items`."""

    def set_schema(self, schema: Any) -> dict[str, Any]:
        return without_unique_items(super().set_schema(schema))  # type: ignore[no-any-return]

    def frozenset_schema(self, schema: Any) -> dict[str, Any]:
        return without_unique_items(super().frozenset_schema(schema))  # type: ignore[no-any-return]

    def named_tuple_schema(self, schema: Any) -> dict[str, Any]:
        items = super().named_tuple_schema(schema)
        names = [field["name"] for field in schema["fields"]]
        properties = dict(zip(names, items.get("prefixItems", ()), strict=True))
        required = names[: items.get("minItems", 0)]  # those with defaults come last
        return {"type": "object", "properties": properties, "required": required}

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(dft._asdict() if is_named_tuple(type(dft)) else dft)


class _PlainTypeSchema(_TypeSchema):
    """The same without titles of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's
        return False


def _explained(make: Callable[[Any], ObjectType], given: Any) -> ObjectType:
    try:
        return make(given)
    except AmuletError:
        raise
    except Exception as error:  # annotations without a schema raise any error
        raise PromptError(f"{type_label(given)} has no JSON schema: {error}") from error


@lru_cache(maxsize=256)
def _of_pydantic(given: Any) -> ObjectType:
    if issubclass(given, BaseModel):
        written = given.model_json_schema(schema_generator=_TypeSchema)
        read: Callable[[str], Any] = given.model_validate_json
    else:
        written = without_unique_items(deepcopy(given.schema()))  # version 1 caches the dict
        read = partial(_read_version_1, given)
    # Recursive models have no title.
    titled = {"title": given.__name__, **written}
    return ObjectType(name=given.__name__, json_schema=titled, read_json=read)


def _read_version_1(given: Any, text: str) -> Any:
    return given.parse_obj(json.loads(text))


@lru_cache(maxsize=256)
def _of_annotated(given: Any) -> ObjectType:
    adapter: TypeAdapter[Any] = TypeAdapter(modern_type(given))
    schema = adapter.json_schema(schema_generator=_PlainTypeSchema)
    origin = get_origin(given) or given
    head, fields = split_docstring(own_docstring(origin))
    target = schema
    if "$ref" in schema:  # the type contains itself
        target = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for name, text in fields.items():
        if name in target.get("properties", {}):
            target["properties"][name].setdefault("description", text)
    target.pop("description", None)
    if head:
        target["description"] = head
    name = str(target.get("title", origin.__name__))
    outer = {"title": name, **({"description": head} if head else {})}
    return ObjectType(
        name=name,
        json_schema={**outer, **schema},
        read_json=adapter.validate_json,
        is_dict=is_typeddict(origin),
    )


def _refusal(given: object) -> str:
    label = type_label(given)
    if not is_type(given):
        kind = type(given)
        if is_pydantic(kind) or dataclasses.is_dataclass(kind):
            return f"{label} is an instance of {kind.__name__}. Give the class itself."
        if inspect.isroutine(given) or isinstance(given, str | int | float | list | tuple | set):
            return f"{label} is no schema. Give {_ACCEPTED}."
    if _is_plain_class(given):
        return (
            f"{label} is a class without declared fields. Make it a dataclass (@dataclass above "
            "it) or a Pydantic model, so that its fields and their types are known."
        )
    return (
        f"{label} does not describe a JSON object with named fields. Make it a field of one: "
        f"class Answer(BaseModel): value: {label}. Or give {_ACCEPTED}."
    )


def _is_plain_class(given: object) -> bool:
    """Whether somebody wrote a class that holds fields, and not a kind of value."""
    if not isinstance(given, type) or given is object:
        return False
    modules = {base.__module__.partition(".")[0] for base in given.__mro__[:-1]}
    return modules.isdisjoint(sys.stdlib_module_names)
