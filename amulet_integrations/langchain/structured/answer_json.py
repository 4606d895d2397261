"""Reads the JSON of an answer: whole, or as far as it has been written."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_core.utils.json import parse_json_markdown, parse_partial_json

# Also half a surrogate pair; an escaped backslash before it is complete.
_UNFINISHED_ESCAPE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)


def parse_whole(text: str) -> Any:
    """Parses JSON, in a code fence or not.

    Raises:
        ValueError: It is no JSON.
    """
    return parse_json_markdown(text, parser=_load)


def parse_partial(text: str) -> Any:
    """Parses JSON that breaks off; None where nothing can be read yet."""
    try:
        return parse_json_markdown(text, parser=_load_partial)
    except ValueError:
        return None


def _load_partial(text: str) -> Any:
    # LangChain's parser completes what breaks off, but drops strings that end in half an escape.
    return parse_partial_json(_UNFINISHED_ESCAPE.sub(r"\1", text))


def _load(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON.")
