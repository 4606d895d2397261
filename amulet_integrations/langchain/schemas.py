"""Schemas as LangChain users give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat import schemas

AnySchema = Mapping[str, Any] | type


def to_json_schema(schema: AnySchema) -> dict[str, Any]:
    """The JSON schema of a Pydantic model, a TypedDict, or of a dict that is or holds one.

    Args:
        schema: A dict may be a JSON schema, with or without a title, a function in the form of
            OpenAI or Anthropic, or what OpenAI's response formats hold.

    Raises:
        PromptError: It is none of these.
    """
    if isinstance(schema, Mapping) or schemas.is_pydantic(schema):
        return schemas.to_json_schema(schema)
    try:
        return convert_to_json_schema(schema)
    except Exception as error:  # annotations that pydantic cannot write raise what they like
        raise PromptError(f"{schemas.schema_label(schema)} has no JSON schema: {error}") from error
