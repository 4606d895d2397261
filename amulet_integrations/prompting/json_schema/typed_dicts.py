"""TypedDicts of any kind, rewritten so that pydantic reads them all alike.

Before Python 3.12 pydantic refuses those of `typing`. LangChain's way to describe a key,
``Annotated[int, ..., "The age"]``, means nothing to pydantic. And qualifiers in annotations that
are strings are known only when those are resolved.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import typing_extensions
from pydantic import Field
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from amulet_integrations.errors import PromptError

# What may stand in an annotation as the default of a key, or as its description.
_PLAIN_VALUES = (str, int, float, bool, type(None), type(...), list, tuple, dict, Enum)
_KEPT = ("__doc__", "__module__", "__qualname__", "__pydantic_config__")


def modern_typed_dict(given: Any) -> Any:
    """A TypedDict of `typing_extensions` with the same keys.

    Args:
        given: A TypedDict of any module; a generic one with or without its arguments.

    Raises:
        PromptError: An annotation names something that does not exist.
    """
    return _Rewriter().rewrite(given, {})


def typed_dict_of(name: str, hints: Mapping[str, Any], optional: frozenset[str]) -> Any:
    """A TypedDict of these keys and types, in which TypedDicts are rewritten as well."""
    made = _empty(name)
    rewriter = _Rewriter()
    _fill(made, {key: rewriter.rewrite(hint, {}) for key, hint in hints.items()}, optional)
    return made


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


class _Rewriter:
    """Rewrites each TypedDict once, so that one may contain itself."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def rewrite(self, hint: Any, variables: Mapping[Any, Any]) -> Any:
        """A type with all TypedDicts in it rewritten, and with type variables replaced."""
        origin, args = get_origin(hint), get_args(hint)
        if isinstance(hint, TypeVar):
            return variables.get(hint, hint)
        if origin is Literal or not (args or is_typeddict(hint)):
            return hint
        if origin is Annotated:
            return Annotated[(self.rewrite(args[0], variables), *hint.__metadata__)]
        inner = tuple(self.rewrite(arg, variables) for arg in args)
        if is_typeddict(hint) or is_typeddict(origin):
            return self._typed_dict(origin or hint, inner)
        return _with_args(hint, inner) if inner != args else hint

    def _typed_dict(self, given: Any, args: tuple[Any, ...]) -> Any:
        if (given, args) in self._made:
            return self._made[given, args]
        shown = f"[{', '.join(getattr(arg, '__name__', str(arg)) for arg in args)}]" if args else ""
        made = self._made[given, args] = _empty(given.__name__ + shown)
        for name in _KEPT:
            if hasattr(given, name):
                setattr(made, name, getattr(given, name))
        variables = dict(zip(getattr(given, "__parameters__", ()), args, strict=False))
        variables |= _inherited_variables(given, variables)
        hints: dict[str, Any] = {}
        optional: set[str] = set()
        for key, hint in resolved_hints(given).items():
            is_required = key in given.__required_keys__
            bare, metadata, qualified = _unqualified(hint)
            if qualified is not None:
                is_required = qualified
            metadata, has_default = _described(metadata)
            if has_default or not is_required:
                optional.add(key)
            rewritten = self.rewrite(bare, variables)
            hints[key] = Annotated[(rewritten, *metadata)] if metadata else rewritten
        _fill(made, hints, frozenset(optional))
        return made


def _with_args(hint: Any, args: tuple[Any, ...]) -> Any:
    """A type with arguments, with others in their place."""
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return Union[args]  # noqa: UP007 - there may be any number of them
    return types.GenericAlias(origin, args) if origin is not None else hint


def _empty(name: str) -> Any:
    return typing_extensions.TypedDict(name, {})  # type: ignore[operator]


def _fill(made: Any, hints: dict[str, Any], optional: frozenset[str]) -> None:
    made.__annotations__ = hints
    made.__required_keys__ = frozenset(hints) - optional
    made.__optional_keys__ = optional


def _inherited_variables(given: Any, variables: Mapping[Any, Any]) -> dict[Any, Any]:
    """What the type variables of generic bases stand for, as in ``class C(Box[int])``."""
    found: dict[Any, Any] = {}
    for base in getattr(given, "__orig_bases__", ()):
        if is_typeddict(origin := get_origin(base)):
            args = (variables.get(arg, arg) for arg in get_args(base))
            own = dict(zip(origin.__parameters__, args, strict=False))
            found |= {**_inherited_variables(origin, own), **own}
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
