"""From a JSON schema to a grammar that a model's answer keeps to.

`json_rule` is the rule of a grammar, which `ToolFormat.json_grammar` (tools/formats.py) completes
and the engine compiles (engine/structured/grammar.py).

llguidance keeps a text to a schema, but it ignores some keywords silently, and its messages about
others do not say where they stand. So schemas are rewritten first (rewriting/). What the grammar
accepts is valid for the caller's schema, but for the keywords that `unenforced` names; for those
the finished value is checked (finished_values.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.rewriting.rewriter import Rewriting, rewrite_schema

from .object_parts import names_properties
from .patterns import combines_many_patterns
from .shape import check_shape
from .unenforced import Unenforced, grammar_error

# JSON is written as `json.dumps` does it, which models have seen most. Without \u escapes a text
# can be written in only one way, so no property comes twice under two spellings.
_GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": '"\\bfnrt',
}

# What llguidance says of oneOf whose alternatives it cannot tell apart, and of references that
# contain themselves and stand beside other keywords. The last comes of parts that are both free.
_ONE_OF = "oneOf constraints"
_CIRCULAR = "circular references"
_TOO_DEEP = "stack level exceeded"


@dataclass(frozen=True)
class EnforcedSchema:
    """What a grammar makes of a schema.

    Attributes:
        schema: The schema that the grammar enforces; not to be changed.
        unenforced: The keywords of the caller's schema that it does not enforce.
        error: Why llguidance refuses it all the same; "" if it does not.
    """

    schema: dict[str, Any]
    unenforced: tuple[Unenforced, ...]
    error: str


def json_rule(schema: Mapping[str, Any]) -> str:
    """The Lark expression of JSON that follows a schema, which `constrained_schema` has adapted."""
    return f"%json {json.dumps({**schema, 'x-guidance': _GUIDANCE})}"


def constrained_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that a grammar enforces in place of a caller's.

    Objects that list their properties have no others, unless `additionalProperties` (or a
    combination by allOf and the like) allows them. Required strings have at least one character,
    unless `minLength`, `pattern` and the like allow none. Dates are days of the calendar. Numbers
    lie between -9e18 and 9e18, and have no exponents and at most ten decimals. Formats that are
    not known here are annotations.

    Args:
        schema: Any JSON schema: of Pydantic, of a TypedDict, or written by hand.

    Returns:
        A schema; not to be changed.

    Raises:
        UnsupportedGrammarError: It is not a schema, or has a keyword that can be neither enforced
            nor checked. The message contains the JSON pointer to it and a remedy.
    """
    return enforced_schema(schema).schema


def arguments_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`constrained_schema` for a tool's arguments: a tool that lists no arguments takes none.

    Args:
        parameters: The tool's JSON schema.

    Returns:
        A schema; not to be changed.

    Raises:
        UnsupportedGrammarError: As for `constrained_schema`.
    """
    return enforced_schema(parameters, of_arguments=True).schema


def enforced_schema(schema: Mapping[str, Any], *, of_arguments: bool = False) -> EnforcedSchema:
    """What a grammar enforces of a schema, and what it does not.

    Args:
        schema: Any JSON schema.
        of_arguments: Whether it describes the arguments of a tool.

    Raises:
        UnsupportedGrammarError: As for `constrained_schema`.
    """
    try:
        check_shape(dict(schema))
        return _enforced(json.dumps(dict(schema)), of_arguments)
    except RecursionError:
        raise UnsupportedGrammarError(
            "The schema is nested too deeply to be read. Use $ref and $defs."
        ) from None


@lru_cache(maxsize=256)
def _enforced(text: str, of_arguments: bool) -> EnforcedSchema:
    schema = json.loads(text)
    if of_arguments:
        _describe_arguments(schema)
    rewriting = Rewriting(drops_patterns=combines_many_patterns(schema))
    while True:
        rewritten, unenforced = rewrite_schema(schema, rewriting)
        error = grammar_error(rewritten)
        simpler = _simpler(rewriting, error)
        if simpler == rewriting:
            return EnforcedSchema(rewritten, unenforced, error)
        rewriting = simpler


def _simpler(rewriting: Rewriting, error: str) -> Rewriting:
    """A rewriting that does without what llguidance refuses; the same where there is none."""
    if not error:
        return rewriting
    if _ONE_OF in error:
        return replace(rewriting, relaxes_one_of=True)
    if _CIRCULAR in error and not rewriting.names_circles:
        return replace(rewriting, names_circles=True)
    if _TOO_DEEP in error and rewriting.bounds_free_parts:
        return replace(rewriting, bounds_free_parts=False)
    return replace(rewriting, relaxes_circles=_CIRCULAR in error, drops_conditions=True)


def _describe_arguments(schema: dict[str, Any]) -> None:
    if "object" in schema.get("type", "object"):  # "type" is one type, or a list of them
        schema["type"] = "object"
    if not names_properties(schema):
        schema["additionalProperties"] = False
