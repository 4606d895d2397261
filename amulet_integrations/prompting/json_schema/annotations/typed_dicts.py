"""The keys of TypedDicts of any kind.

LangChain's way to describe a key, ``Annotated[int, ..., "The age"]``, means nothing to pydantic.
And qualifiers in annotations that are strings are known only when those are resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin

import typing_extensions
from pydantic import Field
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from amulet_integrations.errors import PromptError

# What may stand in an annotation as the default of a key, or as its description.
_PLAIN_VALUES = (str, int, float, bool, type(None), type(...), list, tuple, dict, Enum)


@dataclass(frozen=True)
class Key:
    """A key of a TypedDict.

    Attributes:
        type: The type of its values, without qualifiers and metadata.
        metadata: What pydantic understands of its metadata.
        required: Whether it has to be there.
    """

    type: Any
    metadata: tuple[Any, ...]
    required: bool


def typed_dict_keys(given: Any) -> dict[str, Key]:
    """The keys of a TypedDict, by their names.

    Raises:
        PromptError: An annotation names something that does not exist.
    """
    keys: dict[str, Key] = {}
    for name, hint in resolved_hints(given).items():
        bare, metadata, qualified = _unqualified(hint)
        required = name in given.__required_keys__ if qualified is None else qualified
        metadata, has_default = _described(metadata)
        keys[name] = Key(bare, metadata, required and not has_default)
    return keys


def resolved_hints(given: Any) -> dict[str, Any]:
    """The annotations of a class, with their metadata.

    Raises:
        PromptError: One of them names something that does not exist.
    """
    try:
        return get_type_hints(given, include_extras=True)
    except NameError as error:
        raise PromptError(
            f"{given.__name__} has no JSON schema: {error}. Define what its annotations name at "
            "the top of the module, and not inside a function."
        ) from error


def empty_typed_dict(name: str) -> Any:
    """A TypedDict without keys, of the kind that pydantic takes in all versions of Python."""
    return typing_extensions.TypedDict(name, {})  # type: ignore[operator]


def fill_typed_dict(made: Any, hints: dict[str, Any], optional: frozenset[str]) -> None:
    """Gives an empty TypedDict its keys, which may contain it."""
    made.__annotations__ = hints
    made.__required_keys__ = frozenset(hints) - optional
    made.__optional_keys__ = optional


def inherited_variables(given: Any, variables: Mapping[Any, Any]) -> dict[Any, Any]:
    """What the type variables of generic bases stand for, as in ``class C(Box[int])``."""
    found: dict[Any, Any] = {}
    for base in getattr(given, "__orig_bases__", ()):
        if is_typeddict(origin := get_origin(base)):
            args = (variables.get(arg, arg) for arg in get_args(base))
            own = dict(zip(origin.__parameters__, args, strict=False))
            found |= {**inherited_variables(origin, own), **own}
    return found


def _unqualified(hint: Any) -> tuple[Any, tuple[Any, ...], bool | None]:
    """A key's type, its metadata, and whether it is required; None where it does not say so."""
    metadata: tuple[Any, ...] = ()
    required: bool | None = None
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            metadata = (*hint.__metadata__, *metadata)
        elif origin in {Required, NotRequired}:
            required = origin is Required
        elif origin is not ReadOnly:
            return hint, metadata, required
        hint = get_args(hint)[0]


def _described(metadata: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool]:
    """Metadata for pydantic, and whether the key has a default, so that it may be left out.

    LangChain's form is a default, which is ``...`` for none, and a description. A text alone is a
    description, too.
    """
    plain = [it for it in metadata[:2] if isinstance(it, _PLAIN_VALUES)]
    rest = metadata[len(plain) :]
    if not plain or not isinstance(metadata[0], _PLAIN_VALUES):
        return metadata, False
    default, description = (plain[0], plain[1]) if len(plain) > 1 else (plain[0], None)
    if len(plain) == 1 and isinstance(default, str):
        default, description = ..., default
    if description is not None and not isinstance(description, str):
        raise PromptError(
            f"Annotated[..., {default!r}, {description!r}]: what follows the default of a key is "
            "its description, a string."
        )
    if isinstance(default, Enum):
        default = default.value
    extra: Any = None if default is ... or default is None else {"default": default}
    field = Field(description=description, json_schema_extra=extra)
    return (field, *rest), default is not ...
