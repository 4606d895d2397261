"""The JSON that LlamaIndex's output parsers are able to read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.output_parsers.selection import SelectionOutputParser
from llama_index.core.question_gen.output_parser import SubQuestionOutputParser

from amulet_integrations.prompting.openai_compat.response_format import json_object_format


def json_read_by(parser: Any, prompt_args: Mapping[str, Any]) -> dict[str, Any] | None:
    """The response format of answers that a parser reads; None where it reads other texts.

    Prompts that have one of these parsers tell the model of the schema in words.

    Args:
        parser: An output parser, or None.
        prompt_args: What the prompt is filled in with; it may say what there is to choose from.
    """
    if _reads_as(parser, PydanticOutputParser):
        return json_object_format(parser.output_cls)
    if _reads_as(parser, SelectionOutputParser):
        return json_object_format(_selection(prompt_args))
    if _reads_as(parser, SubQuestionOutputParser):
        return json_object_format(_sub_questions(prompt_args))
    return None


def _reads_as(parser: Any, kind: type) -> bool:
    """Whether it is of the kind, and reads as the kind does."""
    # Not compared as attributes: LlamaIndex wraps methods anew each time they are looked up.
    own, known = (inspect.getattr_static(cls, "parse", None) for cls in (type(parser), kind))
    return isinstance(parser, kind) and own is known


def _selection(prompt_args: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": "integer", "minimum": 1}
    if isinstance(number := prompt_args.get("num_choices"), int):
        choice["maximum"] = number
    one = _object(choice=choice, reason={"type": "string"})
    if "max_outputs" not in prompt_args:
        return one
    most = {"maxItems": prompt_args["max_outputs"]} if prompt_args["max_outputs"] else {}
    return {"type": "array", "items": one, "minItems": 1, **most}


def _sub_questions(prompt_args: Mapping[str, Any]) -> dict[str, Any]:
    tool_name: dict[str, Any] = {"type": "string"}
    if names := _names_of_tools(prompt_args.get("tools_str")):
        tool_name["enum"] = names
    one = _object(sub_question={"type": "string"}, tool_name=tool_name)
    return _object(items={"type": "array", "items": one, "minItems": 1})


def _names_of_tools(tools: Any) -> list[str]:
    try:
        return list(json.loads(tools))
    except (TypeError, ValueError):
        return []


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
