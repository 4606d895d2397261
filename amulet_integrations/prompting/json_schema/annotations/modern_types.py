"""Python types, rewritten so that pydantic reads what is in them as a JSON object.

Before Python 3.12 pydantic refuses TypedDicts of `typing`, wherever they stand. And it writes
NamedTuples as arrays, in which values have no names.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Annotated, Any, ClassVar, Literal, NewType, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, Field
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import to_jsonable_python
from typing_extensions import TypeAliasType, is_typeddict

from .docstrings import own_docstring
from .typed_dicts import (
    empty_typed_dict,
    fill_typed_dict,
    inherited_variables,
    resolved_hints,
    typed_dict_keys,
)

_KEPT = ("__doc__", "__module__", "__qualname__", "__pydantic_config__")
# From Python 3.12 on, `type X = ...` may make aliases of another class.
_ALIASES = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))


def modern_type(given: Any) -> Any:
    """A type that pydantic takes, with the same values.

    Args:
        given: Any type; a generic one with or without its arguments.

    Raises:
        PromptError: An annotation names something that does not exist.
    """
    return _Rewriter().rewrite(given, {})


def modern_hints(given: Any) -> dict[str, Any]:
    """The annotations of a class or a function, each as `modern_type` has it.

    Raises:
        PromptError: One of them names something that does not exist.
    """
    rewriter = _Rewriter()
    return {name: rewriter.rewrite(hint, {}) for name, hint in resolved_hints(given).items()}


def is_named_tuple(given: object) -> bool:
    """Whether something is a class of named tuples."""
    return isinstance(given, type) and issubclass(given, tuple) and hasattr(given, "_fields")


class _Rewriter:
    """Rewrites each type once, so that one may contain itself."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def rewrite(self, hint: Any, variables: Mapping[Any, Any]) -> Any:
        """A type with all types in it rewritten, and with type variables replaced."""
        if isinstance(hint, TypeVar):
            return variables.get(hint, hint)
        if isinstance(hint, dataclasses.InitVar):
            return dataclasses.InitVar(self.rewrite(hint.type, variables))
        origin, args = get_origin(hint), get_args(hint)
        if origin in {Literal, ClassVar}:
            return hint
        if origin is Annotated:
            return Annotated[(self.rewrite(args[0], variables), *hint.__metadata__)]
        inner = tuple(self.rewrite(arg, variables) for arg in args)
        make = self._maker(origin or hint)
        if make is not None and _has_names(hint, set()):
            return make(origin or hint, inner)
        return _with_args(hint, inner) if inner != args else hint

    def _maker(self, given: Any) -> Callable[[Any, tuple[Any, ...]], Any] | None:
        if is_typeddict(given):
            return self._typed_dict
        if is_named_tuple(given):
            return self._named_tuple
        if _is_plain_dataclass(given):
            return self._dataclass
        return self._alias if isinstance(given, (*_ALIASES, NewType)) else None

    def _typed_dict(self, given: Any, args: tuple[Any, ...]) -> Any:
        if (given, args) in self._made:
            return self._made[given, args]
        made = self._made[given, args] = empty_typed_dict(_label(given, args))
        for name in _KEPT:
            if hasattr(given, name):
                setattr(made, name, getattr(given, name))
        variables = _variables(given, args)
        variables |= inherited_variables(given, variables)
        keys = typed_dict_keys(given)
        hints: dict[str, Any] = {}
        for name, key in keys.items():
            rewritten = self.rewrite(key.type, variables)
            hints[name] = Annotated[(rewritten, *key.metadata)] if key.metadata else rewritten
        optional = frozenset(name for name, key in keys.items() if not key.required)
        fill_typed_dict(made, hints, optional)
        return made

    def _named_tuple(self, given: Any, args: tuple[Any, ...]) -> Any:
        """A TypedDict of the same names, whose values become tuples."""
        if (given, args) in self._made:
            return self._made[given, args]
        twin: Any = empty_typed_dict(_label(given, args))
        metadata = (AfterValidator(lambda values: given(**values)),)
        made = self._made[given, args] = Annotated[(twin, *metadata)]
        twin.__doc__, twin.__module__ = own_docstring(given) or None, given.__module__
        twin.__qualname__ = given.__qualname__
        hints, variables = resolved_hints(given), _variables(given, args)
        typed = {name: self.rewrite(hints.get(name, Any), variables) for name in given._fields}
        for name, default in given._field_defaults.items():
            shown = {"default": to_jsonable_python(default, fallback=str)}
            typed[name] = Annotated[typed[name], Field(json_schema_extra=shown)]
        fill_typed_dict(twin, typed, frozenset(given._field_defaults))
        return made

    def _dataclass(self, given: Any, args: tuple[Any, ...]) -> Any:
        """A dataclass with other annotations, whose instances become those of the given one."""
        if (given, args) in self._made:
            return self._made[given, args]
        fields = {name: copy(field) for name, field in given.__dataclass_fields__.items()}
        body = {"__dataclass_fields__": fields, "__slots__": ()}
        twin = types.new_class(given.__name__, (given,), exec_body=lambda names: names.update(body))

        def restored(value: Any) -> Any:
            object.__setattr__(value, "__class__", given)
            return value

        made = self._made[given, args] = Annotated[(twin, AfterValidator(restored))]
        for name in _KEPT:
            if hasattr(given, name):
                setattr(twin, name, getattr(given, name))
        hints, variables = resolved_hints(given), _variables(given, args)
        for name, field in fields.items():
            field.type = self.rewrite(hints.get(name, field.type), variables)
        twin.__annotations__ = {name: field.type for name, field in fields.items()}
        return made

    def _alias(self, given: Any, args: tuple[Any, ...]) -> Any:
        """What a name of a type stands for; in that, where it contains itself, another name."""
        if (given, args) in self._made:
            return self._made[given, args]
        twin = self._made[given, args] = TypeAliasType(
            given.__name__, given[args] if args else given
        )
        meaning = self.rewrite(_meaning(given), _variables(given, args))
        if sys.version_info < (3, 12):  # later pydantic takes the given one, too
            object.__setattr__(twin, "__value__", meaning)
        self._made[given, args] = meaning
        return meaning


def _has_names(hint: Any, seen: set[int]) -> bool:
    """Whether there is a TypedDict or a NamedTuple in a type."""
    given = get_origin(hint) or hint
    if is_typeddict(given) or is_named_tuple(given):
        return True
    inner: Iterable[Any] = () if given is Literal else get_args(hint)
    if any(_has_names(it, seen) for it in inner):
        return True
    if id(given) in seen:
        return False
    seen.add(id(given))
    if _is_plain_dataclass(given):
        return any(_has_names(it, seen) for it in resolved_hints(given).values())
    if isinstance(given, dataclasses.InitVar):
        return _has_names(given.type, seen)
    return isinstance(given, (*_ALIASES, NewType)) and _has_names(_meaning(given), seen)


def _is_plain_dataclass(given: Any) -> bool:
    is_dataclass = isinstance(given, type) and dataclasses.is_dataclass(given)
    return is_dataclass and not is_pydantic_dataclass(given)


def _meaning(alias: Any) -> Any:
    """The type that an alias, or a NewType, is a name of."""
    if isinstance(alias, NewType):
        return alias.__supertype__
    holder = type(alias.__name__, (), {"__module__": alias.__module__})
    holder.__annotations__ = {"value": alias.__value__}
    return resolved_hints(holder)["value"]


def _variables(given: Any, args: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(getattr(given, "__parameters__", ()), args, strict=False))


def _label(given: Any, args: tuple[Any, ...]) -> str:
    shown = ", ".join(getattr(arg, "__name__", str(arg)) for arg in args)
    return f"{given.__name__}[{shown}]" if args else str(given.__name__)


def _with_args(hint: Any, args: tuple[Any, ...]) -> Any:
    """A type with arguments, with others in their place."""
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return Union[args]  # noqa: UP007 - there may be any number of them
    return types.GenericAlias(origin, args) if origin is not None else hint
