"""JSON schemas of answers and arguments: from Python types and dicts, named and checked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from amulet_integrations.deadline import Deadline
from amulet_integrations.errors import PromptError, UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.finished_values import check_can_be_checked
from amulet_integrations.prompting.json_schema.object_types import ObjectType, type_label
from amulet_integrations.prompting.json_schema.schema_to_grammar import enforced_schema
from amulet_integrations.prompting.json_schema.shape import map_subschemas
from amulet_integrations.prompting.json_schema.size import check_size

_UNNAMED = "answer"
_QUICK_SIZE = 4096  # characters of a schema that is read within 50 ms, whatever is in it
_OBJECT_KEYWORDS = frozenset({"properties", "additionalProperties"})
_COMBINED = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
# The keywords in whose schemas strict schemas are closed as well.
_CLOSED_WITHIN = frozenset(
    {"properties", "$defs", "definitions", "anyOf", "oneOf", "allOf", "items", "prefixItems"}
)
# A dict is a JSON schema only if it has at least one of these.
_KEYWORDS = frozenset(
    {
        *("$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "properties"),
        *("required", "additionalProperties", "patternProperties", "items", "prefixItems"),
        *("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems"),
    }
)


_one_at_a_time = threading.Lock()


def _reset_in_child() -> None:
    """A forked child may inherit the lock while a thread that it does not have holds it."""
    global _one_at_a_time  # noqa: PLW0603 - one for the process is the point
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


def to_json_schema(schema: object) -> dict[str, Any]:
    """The JSON schema of a Python type, or of a dict that is or contains one.

    Args:
        schema: A type may be any that `ObjectType.of` takes. A dict may be a JSON schema, with or
            without a title, a function in the form of OpenAI or Anthropic, or the content of an
            OpenAI response format.

    Raises:
        PromptError: It is none of these.
    """
    if isinstance(schema, Mapping):
        return _from_dict(schema)
    return deepcopy(ObjectType.of(schema).json_schema)


def schema_name(written: Mapping[str, Any]) -> str:
    """The name of a schema that `to_json_schema` returned."""
    return str(written.get("title") or _UNNAMED)


def is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Whether a dict is the content of an OpenAI response format: a name, a schema and flags."""
    inner = schema.get("json_schema", schema)
    return isinstance(inner, Mapping) and isinstance(inner.get("schema"), Mapping)


def unwrap(wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in such a wrapper, with the wrapper's name and description."""
    inner = wrapper.get("json_schema", wrapper)
    outside = {"title": inner.get("name"), "description": inner.get("description")}
    return {**{key: value for key, value in outside.items() if value}, **inner["schema"]}


def strict_flag(schema: object) -> bool | None:
    """The `strict` flag of a wrapper; None if it has none, or if the schema is no wrapper."""
    if not isinstance(schema, Mapping) or not is_wrapped(schema):
        return None
    strict = schema.get("json_schema", schema).get("strict")
    return strict if isinstance(strict, bool) else None


@dataclass(frozen=True)
class SchemaCheck:
    """Whether a schema can be enforced while decoding, or checked; found out without a model.

    Attributes:
        what: What the schema describes, for the message.
        schema: Any JSON schema.
        of_tool: Whether it describes the arguments of a tool.
        strict: Whether all of it has to be enforced while decoding.
    """

    what: str
    schema: Mapping[str, Any]
    of_tool: bool = False
    strict: bool = False

    def run_if_quick(self) -> bool:
        """Runs it, unless that would hold up an event loop; returns whether it ran.

        A schema near the largest size takes up to a second.

        Raises:
            UnsupportedGrammarError: As `run`.
        """
        size = check_size(f"of {self.what}", self.schema)
        if size > _QUICK_SIZE and _on_event_loop():
            return False
        self.run()
        return True

    def run(self, deadline: Deadline | None = None) -> None:
        """Refuses a schema that can be neither enforced nor checked.

        Large ones are read one at a time, so that Python has time for the other threads.

        Args:
            deadline: Until when to wait for one's turn.

        Raises:
            RequestCancelledError: The request was cancelled.
            RequestTimeoutError: The deadline has passed.
            UnsupportedGrammarError: The message names the part and its place.
        """
        if deadline is None:
            self._run()
            return
        with deadline.holding(_one_at_a_time, "while its schema was read"):
            self._run()

    def _run(self) -> None:
        what = self.what
        try:
            enforced = enforced_schema(self.schema, of_arguments=self.of_tool)
            if enforced.unenforced:
                check_can_be_checked(self.schema)
        except UnsupportedGrammarError as unsupported:
            message = str(unsupported).replace("The schema", f"The schema of {what}", 1)
            raise UnsupportedGrammarError(message) from None
        if enforced.error:
            raise UnsupportedGrammarError(
                f"The schema of {what} cannot be enforced while decoding: {enforced.error}. "
                "Leave that part out of the schema and check it afterwards."
            )
        if self.strict and enforced.unenforced:
            first = enforced.unenforced[0]
            raise UnsupportedGrammarError(
                f"The schema of {what} has {first}, which cannot be enforced while decoding, as "
                f"strict=True asks. {first.remedy}. Or leave strict out; then the finished value "
                "is checked for it."
            )


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every object closed and every property required, as strict tools have it.

    Raises:
        UnsupportedGrammarError: It is too large.
    """
    check_size("of a strict answer or tool", schema)
    return _closed(schema)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    def close_inner(inner: Any, keyword: str, _pointer: str) -> Any:
        # Several parts of one object would exclude each other's properties.
        is_part = keyword == "allOf" and len(schema["allOf"]) > 1
        closes = keyword in _CLOSED_WITHIN and not is_part and isinstance(inner, dict)
        return _closed(inner) if closes else inner

    strict = map_subschemas(dict(schema), close_inner)
    properties = strict.get("properties")
    if isinstance(properties, dict) and properties:
        strict["required"] = list(properties)
    if not _COMBINED.isdisjoint(strict):
        # What is described in parts is closed with the grammar, when all parts are known.
        strict.pop("additionalProperties", None)
    elif strict.get("type") == "object" or not _OBJECT_KEYWORDS.isdisjoint(strict):
        strict["additionalProperties"] = False
    return strict


def _from_dict(schema: Mapping[str, Any]) -> dict[str, Any]:
    if is_wrapped(schema):
        schema = unwrap(schema)
    function = schema.get("function", schema)
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        named = {"title": function["name"]}
        for key in ("parameters", "input_schema"):
            if isinstance(function.get(key), Mapping):
                if function.get("description"):
                    named["description"] = function["description"]
                return {**named, **function[key]}
        schema = {**named, **{name: function[name] for name in function if name != "name"}}
    if not _KEYWORDS & schema.keys():
        raise PromptError(
            f"{type_label(schema)} is no JSON schema: it has no "
            '"type", "properties" or the like. '
            'Give one, such as {"title": ..., "type": "object", "properties": {...}}.'
        )
    return dict(schema)
