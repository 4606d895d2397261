"""`multipleOf` in schemas of the same number, which llguidance cannot combine by itself.

It multiplies two steps in 32 bits and does not notice where that overflows. The limit to ten
decimals is such a step. So numbers that are described in parts are written as one schema here, and
of the steps that are left in several parts of one number, only one is enforced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from math import lcm
from typing import Any

from amulet_integrations.prompting.json_schema.object_parts import IN_PLACE
from amulet_integrations.prompting.json_schema.references import resolve
from amulet_integrations.prompting.json_schema.shape import (
    DEFINITIONS,
    iter_objects,
    map_subschemas,
)

from .bounds import ANNOTATIONS, is_number

Schema = dict[str, Any]

_LARGEST = 2**32 - 1  # of llguidance's whole numbers for steps
_LARGEST_DIGITS = 10_000  # of a step without zeros at its end: automata have a state for each
_CONDITIONAL = ("if", "then", "else", "dependentSchemas", "dependencies")
_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")
_NUMERIC = frozenset({"type", "multipleOf", *_LOWER, *_UPPER})
_PASSED_OVER = ANNOTATIONS - {*DEFINITIONS, "$id", "$schema", "x-guidance"}


def can_enforce_step(step: float) -> bool:
    """Whether llguidance reads a step as the decimal that was written, and soon is ready."""
    if not 0 < step <= _LARGEST:
        return False
    written, decimals = float(step), 0
    while written % 1 and written <= _LARGEST:
        written, decimals = written * 10, decimals + 1
    digits = int(written)
    while digits % 10 == 0:
        digits //= 10
    is_exact = written <= _LARGEST and Fraction(int(written), 10**decimals) == _exact(step)
    return is_exact and digits <= _LARGEST_DIGITS


class Steps:
    """Which parts of one document describe numbers that have a step in another part, too.

    Args:
        document: The whole schema, to which references point.
    """

    def __init__(self, document: Schema) -> None:
        self._document = document
        objects = list(iter_objects(document))
        self._are_there = any("multipleOf" in it for it in objects)
        self._can_merge = not any("/allOf/" in str(it.get("$ref", "")) for it in objects)
        self._of_references: dict[str, bool] = {}
        self._met: set[str] = set()
        if self._are_there:
            self._follow(document, met=False)

    def merged(self, schema: Schema) -> Schema:
        """A schema with the parts of its allOf that describe nothing but a number written into it.

        References must not lead to such parts.
        """
        if not self._are_there or not self._can_merge or "allOf" not in schema:
            return schema
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        left = []
        for part in schema["allOf"]:
            inner = self.merged(part) if isinstance(part, dict) else part
            both = _both(merged, inner)
            if both is None:
                left.append(inner)
            else:
                merged = both
        return {**merged, "allOf": left} if left else merged

    def are_met_at(self, pointer: str) -> bool:
        """Whether a reference to a schema stands where the same number has a step."""
        return pointer in self._met

    def in_parts(self, schema: Schema) -> bool:
        """Whether a schema's number has a step in a part of the schema, or behind its reference."""
        return self._are_there and (
            self._has_behind(schema) or any(self._has(part) for _keyword, part in _parts(schema))
        )

    def counted(self, schema: Schema) -> Counter[str]:
        """How many parts of a schema's number have a step, by keyword; alternatives are one."""
        counts: Counter[str] = Counter()
        if not self._are_there:
            return counts
        counts["multipleOf"] = int("multipleOf" in schema)
        counts["$ref"] = int(self._has_behind(schema))
        for keyword, part in _parts(schema):
            if keyword == "allOf" or not counts[keyword]:
                counts[keyword] += self._has(part)
        return counts

    def are_beside(self, counts: Counter[str], keyword: str, part: Any) -> bool:
        """Whether a number has a step in its schema, without that in one part.

        Args:
            counts: What `counted` says of the schema.
            keyword: The keyword of the part.
            part: One of the schemas of the keyword.
        """
        own = self._has(part) if keyword == "allOf" else counts[keyword]
        return counts.total() > own

    def are_beside_case(self, counts: Counter[str], keyword: str) -> bool:
        """As `are_beside`, for a whole condition, of which only one alternative holds.

        Args:
            counts: What `counted` says of the schema.
            keyword: The keyword of the condition.
        """
        own = ("if", "then", "else") if keyword == "if" else ()
        return counts.total() > sum(counts[it] for it in own)

    def _has(self, schema: Any) -> bool:
        return isinstance(schema, dict) and ("multipleOf" in schema or self.in_parts(schema))

    def _has_behind(self, schema: Schema) -> bool:
        reference = schema.get("$ref")
        if reference is None:
            return False
        if reference not in self._of_references:
            self._of_references[reference] = False  # until it is known, for circles
            self._of_references[reference] = self._has(resolve(self._document, reference))
        return self._of_references[reference]

    def _follow(self, schema: Any, *, met: bool) -> None:
        """Finds the references that stand where the same number has a step."""
        if not isinstance(schema, dict):
            return
        counts = self.counted(schema)
        reference = schema.get("$ref")
        is_met = met or self.are_beside(counts, "$ref", None)
        if reference is not None and is_met and reference not in self._met:
            self._met.add(reference)
            self._follow(resolve(self._document, reference), met=True)

        def visit(inner: Any, keyword: str, _pointer: str) -> None:
            in_place = keyword in IN_PLACE or keyword in _CONDITIONAL
            self._follow(inner, met=in_place and (met or self.are_beside(counts, keyword, inner)))

        map_subschemas(schema, visit)


def _parts(schema: Schema) -> Iterator[tuple[str, Any]]:
    """The schemas that describe the same value as a schema, with their keywords."""
    for keyword in IN_PLACE:
        yield from ((keyword, part) for part in schema.get(keyword, ()))
    for keyword in _CONDITIONAL:
        value = schema.get(keyword)
        for part in value.values() if keyword.startswith("dep") and value else (value,):
            yield keyword, part


def _both(schema: Schema, part: Any) -> Schema | None:
    """A schema together with a part that only describes a number; None for any other part."""
    if not isinstance(part, dict) or not part.keys() <= _NUMERIC | _PASSED_OVER:
        return None
    if not _NUMERIC & part.keys() - {"type"}:
        return None
    limits = [it.get(key, 0) for it in (schema, part) for key in _NUMERIC - {"type"}]
    if not all(map(is_number, limits)):
        return None
    merged = dict(schema)
    for keys, choose in ((_LOWER, max), (_UPPER, min)):
        for key in keys:
            found = [it[key] for it in (schema, part) if key in it]
            if found:
                merged[key] = choose(found)
    types = _common_types(schema.get("type"), part.get("type"))
    step = _common_step(schema.get("multipleOf"), part.get("multipleOf"))
    if types == [] or (step is not None and not can_enforce_step(step)):
        return None
    if types is not None:
        merged["type"] = types[0] if len(types) == 1 else types
    if step is not None:
        merged["multipleOf"] = step
    return merged


def _common_types(*given: Any) -> list[str] | None:
    """The types that two schemas allow; None for all."""
    sets = [{it} if isinstance(it, str) else set(it) for it in given if it is not None]
    if not sets:
        return None
    wide = [it | {"integer"} if "number" in it else it for it in sets]
    common = set.intersection(*wide)
    return sorted(common - {"integer"} if "number" in common else common)


def _common_step(*given: Any) -> float | None:
    """The smallest multiple of two steps."""
    steps = [_exact(step) for step in given if step is not None]
    if not steps or any(step <= 0 for step in steps):
        return next((step for step in given if step is not None), None)
    scale = lcm(*(step.denominator for step in steps))
    common = Fraction(lcm(*(int(step * scale) for step in steps)), scale)
    return int(common) if common.denominator == 1 else float(common)


def _exact(number: float) -> Fraction:
    return Fraction(str(number))
