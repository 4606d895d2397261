"""The form of an answer, as LangChain users ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amulet_integrations.langchain.schemas import to_json_schema
from amulet_integrations.langchain.tools import to_openai_tools
from amulet_integrations.prompting.openai_compat.output_options import plain_arguments
from amulet_integrations.prompting.openai_compat.response_format import json_schema_format


def in_plain_form(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with their tools, choice and format as plain JSON, for tracers and cache keys.

    Raises:
        PromptError: One of them cannot be used.
    """
    wanted = arguments.get("response_format")
    if isinstance(wanted, type):
        wanted = json_schema_format(to_json_schema(wanted))
        arguments = {**arguments, "response_format": wanted}
    return plain_arguments(arguments, to_openai_tools)
