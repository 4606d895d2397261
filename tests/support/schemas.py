"""Random JSON schemas, the same for the same seed, and answers that have to fit them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from amulet_integrations import SamplingParams
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine import GenerationRequest, GenerationResult
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.prompting import ChatMessage, JsonOutput
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions

Schema = dict[str, Any]

# A few letters of many scripts, with what JSON has to escape.
LETTERS = (
    *"abcxyzABC019 _-.$@/äßéñøłžığΩλσжщюאבשحمدकखगதமกขあいカ漢字語한글😀🦜",
    *"\u200d\u0301\U0001d538\"\\'{}[],:\n\t",
)
PREFERENCE = "Write creatively: vivid, playful and poetic, full of surprising words."
PATTERNS = (
    "^[a-z]{2,6}$",
    "^[0-9]{3}-[0-9]{2}$",
    "^[A-Z][a-z]+( [A-Z][a-z]+)?$",
    "^(yes|no|perhaps)$",
    "^#[0-9a-f]{6}$",
    "^é+[0-9]?$",
)
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "duration", "hostname")
NARROW = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass
class Records:
    """Asks for JSON of random schemas from a user with a preference at full strength.

    Args:
        engine: What decodes.
        max_new_tokens: Most tokens of each answer.
    """

    engine: Engine
    max_new_tokens: int

    def of(self, seeds: Iterable[int]) -> list[tuple[Schema, GenerationResult]]:
        """The answers for these seeds, decoded together."""
        schemas = [random_schema(random.Random(seed)) for seed in seeds]
        results = self.engine.generate([self.request(seed) for seed in seeds])
        return list(zip(schemas, results, strict=True))

    def request(self, seed: int) -> GenerationRequest:
        """What is asked for `seed`."""
        personalizer = Personalizer(self.engine, strength=Strength(preset="paper"))
        personalization = personalizer.personalize(PreferenceSelection(preference=PREFERENCE))
        schema = random_schema(random.Random(seed))
        question = ChatMessage(role="user", content="Make up a record of anything you like.")
        return personalizer.build_request(
            PreparedCall(
                messages=(question,),
                personalization=personalization,
                sampling=SamplingParams(
                    temperature=1.0, seed=seed, max_new_tokens=self.max_new_tokens
                ),
                output=OutputOptions(
                    json_output=JsonOutput(json_schema=schema, steer_strings=True)
                ),
            )
        )


def check_whole(schema: Schema, result: GenerationResult, max_new_tokens: int) -> None:
    """Fails unless the answer is complete and valid."""
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(result.text))
    assert result.finish_reason == "stop"
    assert len(result.token_ids) <= max_new_tokens


def schema_grammar(schema: Schema | bool) -> str:
    """The grammar of what a schema describes, written as `json.dumps` does."""
    return str(LLMatcher.grammar_from_json_schema(schema, defaults=NARROW))


def random_schema(rng: random.Random) -> Schema:
    """An object of a few properties, nested three deep at most, that cannot be empty."""
    schema = _object(rng, 3)
    schema["required"] = schema["required"] or list(schema["properties"])[:1]
    return schema


def _schema(rng: random.Random, depth: int) -> Schema:
    kinds: list[Callable[[random.Random, int], Schema]] = [
        *(_string, _string, _text, _number, _integer),
        *(_enum, _const, _literal),
    ]
    if depth > 0:
        kinds += [_object, _object, _array, _array, _choice, _choice]
    return rng.choice(kinds)(rng, depth)


def random_name(rng: random.Random) -> str:
    """A name in any script, or in several, with quotes and backslashes."""
    if rng.random() < 0.4:
        return rng.choice(["name", "city", "street", "age", "tags", "notes", "kind"])
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 8)))


def _object(rng: random.Random, depth: int) -> Schema:
    names = sorted({random_name(rng) for _ in range(rng.randint(1, 4))})
    rng.shuffle(names)
    schema: Schema = {
        "type": "object",
        "properties": {name: _schema(rng, depth - 1) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False,
    }
    if rng.random() < 0.15:
        schema["additionalProperties"] = _schema(rng, 0)
    return schema


def _array(rng: random.Random, depth: int) -> Schema:
    schema: Schema = {"type": "array", "items": _schema(rng, depth - 1)}
    least = rng.randint(0, 3)
    if rng.random() < 0.5:
        schema["minItems"] = least
    if rng.random() < 0.4:
        schema["maxItems"] = least + rng.randint(0, 3)
    if rng.random() < 0.1:
        first = [_schema(rng, 0) for _ in range(2)]
        return {"type": "array", "prefixItems": first, "items": False, "minItems": 2}
    return schema


def _choice(rng: random.Random, depth: int) -> Schema:
    if rng.random() < 0.5:
        return {"anyOf": [_schema(rng, depth - 1), {"type": "null"}]}
    return {"anyOf": [_schema(rng, depth - 1) for _ in range(rng.randint(2, 3))]}


def _string(rng: random.Random, _depth: int) -> Schema:
    schema: Schema = {"type": "string"}
    least = rng.randint(0, 6)
    if rng.random() < 0.4:
        schema["minLength"] = least
    if rng.random() < 0.4:
        schema["maxLength"] = least + rng.randint(0, 12)
    return schema


def _text(rng: random.Random, _depth: int) -> Schema:
    if rng.random() < 0.5:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    return {"type": "string", "format": rng.choice(FORMATS)}


def _number(rng: random.Random, _depth: int) -> Schema:
    lowest = round(rng.uniform(-50, 50), 2)
    highest = round(lowest + rng.uniform(0.1, 500), 2)
    schema: Schema = {"type": "number"}
    schema[rng.choice(["minimum", "exclusiveMinimum"])] = rng.choice([lowest, 0])
    if rng.random() < 0.7:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = max(highest, 1)
    return schema


def _integer(rng: random.Random, _depth: int) -> Schema:
    lowest = rng.randint(-1000, 1000)
    schema: Schema = {"type": "integer"}
    if rng.random() < 0.7:
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = lowest
    if rng.random() < 0.6:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = lowest + rng.randint(20, 2000)
    if rng.random() < 0.1:
        return {"type": "integer", "multipleOf": rng.choice([2, 5, 10]), "minimum": 1}
    return schema


def _enum(rng: random.Random, _depth: int) -> Schema:
    values: list[Any] = [random_name(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        values += [rng.randint(-9, 9), None]
    return {"enum": values}


def _const(rng: random.Random, _depth: int) -> Schema:
    return {"const": rng.choice([random_name(rng), rng.randint(-99, 99), True, None])}


def _literal(rng: random.Random, _depth: int) -> Schema:
    return {"type": rng.choice(["boolean", "null"])}
