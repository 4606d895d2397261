"""Rewrites a JSON schema so that llguidance enforces as much of it as it can.

Every change allows less than the schema did, except where a keyword is reported as `Unenforced`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.object_parts import (
    IN_PLACE,
    all_property_names,
    combined_references,
    count_object_parts,
    lists_properties,
)
from amulet_integrations.prompting.json_schema.older_llguidance import (
    is_older_llguidance,
    rewrite_for_older,
)
from amulet_integrations.prompting.json_schema.patterns import (
    depends_on_reader,
    enforced_pattern,
)
from amulet_integrations.prompting.json_schema.references import has_anchor
from amulet_integrations.prompting.json_schema.shape import (
    DEFINITIONS,
    at,
    check_shape,
    iter_objects,
    map_subschemas,
    refuse,
)
from amulet_integrations.prompting.json_schema.unenforced import OUTDATED, Unenforced, grammar_error

from .arrays_and_names import rewrite_contains, rewrite_property_names, rewrite_unique_items
from .bounds import (
    ANY_JSON_NAME,
    any_json,
    any_json_reference,
    bound_free_parts,
    bound_numbers,
    is_number,
    uses_any_json,
)
from .cases import CONDITIONS, Cases, cases_of
from .circles import Circles
from .multiples import Steps, can_enforce_step
from .objects import left_counts, list_required, narrow_object
from .strings import narrow_string

# Keywords that are left to a check of the finished value, and those that restrict nothing.
_LEFT = ("uniqueItems", "not", "$dynamicRef", "$recursiveRef")
_IDLE = frozenset(
    {"contentEncoding", "contentMediaType", "contentSchema", "$dynamicAnchor", "$recursiveAnchor"}
    | {"minContains", "$vocabulary"}
)
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_TAKEN_OUT = frozenset({*_LEFT, *_IDLE, *_UNEVALUATED, *CONDITIONS, *OUTDATED})


@dataclass(frozen=True)
class Rewriting:
    """How a schema is rewritten; each flag gives up or rewrites what llguidance has refused.

    Attributes:
        relaxes_one_of: Whether oneOf becomes anyOf.
        names_circles: Whether recursive references beside other keywords get a name; see `Circles`.
        relaxes_circles: Whether what stands beside recursive references is left out.
        drops_conditions: Whether conditions are left out.
        drops_patterns: Whether patterns are left out, and formats, which become annotations.
        bounds_free_parts: Whether numbers are bounded in what the schema does not describe.
    """

    relaxes_one_of: bool = False
    names_circles: bool = False
    relaxes_circles: bool = False
    drops_conditions: bool = False
    drops_patterns: bool = False
    bounds_free_parts: bool = True


def rewrite_schema(
    schema: dict[str, Any], rewriting: Rewriting
) -> tuple[dict[str, Any], tuple[Unenforced, ...]]:
    """Rewrites a whole schema, of the right shape.

    Returns:
        The new schema, and what it does not enforce.

    Raises:
        UnsupportedGrammarError: A keyword can be neither enforced nor checked.
    """
    unenforced: list[Unenforced] = []
    if rewriting.names_circles or rewriting.relaxes_circles:
        circles = Circles(schema, relaxes=rewriting.relaxes_circles)
        schema = circles.rewritten()
        unenforced += circles.unenforced
    # With an id inside, references may be relative to it instead of the whole schema.
    has_inner_ids = any(
        isinstance(inner.get(key), str)
        for inner in islice(iter_objects(schema), 1, None)
        for key in ("$id", "id")
    )
    rewriter = _Rewriter(
        document=schema,
        how=rewriting,
        combined=frozenset(combined_references(schema)),
        steps=Steps(schema),
        bounds_free_parts=rewriting.bounds_free_parts and not has_inner_ids,
    )
    rewritten: dict[str, Any] = rewriter.rewrite(schema, "#", is_whole=True)
    if uses_any_json(rewritten):
        rewritten["$defs"] = {**rewritten.get("$defs", {}), ANY_JSON_NAME: any_json()}
    unenforced += rewriter.unenforced
    if is_older_llguidance():
        rewritten, left = rewrite_for_older(rewritten)
        unenforced += left
    return rewritten, tuple(dict.fromkeys(unenforced))


@dataclass(frozen=True)
class _Rewriter:
    """Rewrites the schemas of one document.

    Attributes:
        document: The whole schema, to which references point.
        how: What is given up.
        combined: The references that stand for only a part of an object.
        steps: Where the document gives numbers a step.
        bounds_free_parts: Whether numbers are bounded in what the schema does not describe.
        unenforced: What has been given up so far.
    """

    document: dict[str, Any]
    how: Rewriting
    combined: frozenset[str]
    steps: Steps
    bounds_free_parts: bool
    unenforced: list[Unenforced] = field(default_factory=list)

    def rewrite(self, schema: Any, pointer: str, *, is_whole: bool, has_step: bool = False) -> Any:
        """Rewrites the schema at `pointer`.

        Args:
            schema: The schema.
            pointer: The JSON pointer to it.
            is_whole: Whether it describes its value alone, and not together with other schemas.
            has_step: Whether another schema of the same number has `multipleOf`.
        """
        has_step = has_step or self.steps.are_met_at(pointer)
        bounds_free_parts = self.bounds_free_parts and not has_step
        if not isinstance(schema, dict):
            return any_json_reference() if schema is True and bounds_free_parts else schema
        schema = self.steps.merged(schema)
        schema = rewrite_property_names(dict(schema), self.document)
        schema = rewrite_contains(rewrite_unique_items(schema, self.document))
        _refuse_outdated(schema, pointer)
        self._leave(schema, pointer)
        is_whole = is_whole and pointer not in self.combined and count_object_parts(schema) <= 1
        cases = [] if self.how.drops_conditions else list(cases_of(schema, pointer))

        counts = self.steps.counted(schema)

        def rewrite_inner(inner: Any, keyword: str, place: str) -> Any:
            if keyword not in IN_PLACE:
                return self.rewrite(inner, place, is_whole=True)
            stepped = has_step or self.steps.are_beside(counts, keyword, inner)
            return self.rewrite(inner, place, is_whole=is_whole, has_step=stepped)

        kept = {key: value for key, value in schema.items() if key not in _TAKEN_OUT}
        if is_whole:
            list_required(kept)
        if self.how.relaxes_one_of and "oneOf" in kept:
            kept = _one_of_as_any_of(kept)
        rewritten = map_subschemas(kept, rewrite_inner, pointer)
        if not narrow_string(rewritten, pointer, drops_patterns=self.how.drops_patterns):
            self._report("pattern", pointer)
        self._narrow_names(rewritten, schema, pointer)
        narrow_object(rewritten, close=is_whole)
        self._narrow_step(rewritten, pointer, has_step=has_step)
        bound_numbers(rewritten, has_step=has_step or self.steps.in_parts(schema))
        if is_whole and bounds_free_parts:
            bound_free_parts(rewritten)
        for condition in cases:
            stepped = has_step or self.steps.are_beside_case(counts, condition.keyword)
            self._add_case(rewritten, condition, pointer, has_step=stepped)
        return rewritten

    def _leave(self, schema: dict[str, Any], pointer: str) -> None:
        """Reports the keywords that are left to a check of the finished value."""
        found = [key for key in _LEFT if schema.get(key, False) is not False]
        found += [key for key in ("contains", "maxContains", "propertyNames") if key in schema]
        found += [key for key in _UNEVALUATED if schema.get(key, True) is not True]
        if "oneOf" in schema and not self._tells_apart(schema["oneOf"]):
            found.append("oneOf")
        if self.how.drops_conditions:
            found += ["if"] if "if" in schema else []
            found += ["dependencies"] if any(key in schema for key in CONDITIONS[3:]) else []
        found += left_counts(schema)
        if "$dynamicRef" in found and not has_anchor(self.document, schema["$dynamicRef"]):
            refuse(at(pointer, "$dynamicRef"), schema["$dynamicRef"], "a reference to anything")
        for key in found:
            self._report(key, pointer)
        for key in ("contains", "maxContains", "propertyNames"):
            schema.pop(key, None)

    def _tells_apart(self, alternatives: list[Any]) -> bool:
        """Whether no value follows two of the alternatives as they were given.

        Those that the grammar keeps apart may do so only because it closes them.
        """
        if self.how.drops_patterns:
            return False
        definitions = {key: self.document[key] for key in DEFINITIONS if key in self.document}
        return not grammar_error({**definitions, "oneOf": alternatives})

    def _report(self, keyword: str, pointer: str) -> None:
        self.unenforced.append(Unenforced(keyword, pointer))

    def _narrow_step(self, schema: dict[str, Any], pointer: str, *, has_step: bool) -> None:
        """Leaves out a step that cannot be enforced, or not together with another one."""
        step: Any = schema.get("multipleOf")
        if is_number(step) and (has_step or not can_enforce_step(step)):
            self._report("multipleOf", pointer)
            del schema["multipleOf"]

    def _add_case(
        self, schema: dict[str, Any], condition: Cases, pointer: str, *, has_step: bool
    ) -> None:
        """Adds a condition of an object as alternatives."""
        alternatives: list[Any] = list(condition.alternatives)
        if schema.get("additionalProperties") is False and lists_properties(schema):
            alternatives = condition.closed(schema["properties"])
            for name in sorted(condition.names):
                schema["properties"].setdefault(name, True)
        for alternative in alternatives:
            check_shape(alternative, pointer)
        place = at(pointer, condition.keyword)
        rewritten = [
            self.rewrite(one, place, is_whole=False, has_step=has_step) for one in alternatives
        ]
        schema["allOf"] = [*schema.get("allOf", ()), {"anyOf": rewritten}]
        if not condition.exact:
            self._report(condition.keyword, pointer)

    def _narrow_names(self, schema: dict[str, Any], given: dict[str, Any], pointer: str) -> None:
        """Leaves out patterns of names that cannot be enforced, and closes what is unevaluated."""
        if patterns := schema.get("patternProperties"):
            written = {name: enforced_pattern(name, pointer) for name in patterns}
            schema["patternProperties"] = {
                pattern: patterns[name] for name, pattern in written.items() if pattern is not None
            }
            is_open = given.get("additionalProperties") not in (None, False)
            is_lost = None in written.values() or len({*written.values()}) < len(written)
            if is_lost or (is_open and any(map(depends_on_reader, patterns))):
                self._report("patternProperties", pointer)
        if given.get("unevaluatedProperties") is False:
            names = all_property_names(given, self.document)
            if names is not None:
                schema["additionalProperties"] = False
                known = dict.fromkeys(sorted(names), True)
                schema["properties"] = {**known, **schema.get("properties", {})}


def _refuse_outdated(schema: dict[str, Any], pointer: str) -> None:
    for keyword, remedy in OUTDATED.items():
        if keyword in schema:
            raise UnsupportedGrammarError(
                f"The schema has {keyword!r} at {pointer}, a keyword of an old draft, which cannot "
                f"be enforced. {remedy}."
            )


def _one_of_as_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    others = {key: value for key, value in schema.items() if key != "oneOf"}
    if "anyOf" not in schema:
        return {**others, "anyOf": schema["oneOf"]}
    return {**others, "allOf": [*schema.get("allOf", ()), {"anyOf": schema["oneOf"]}]}
