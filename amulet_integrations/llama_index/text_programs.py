"""The JSON that a text program waits for.

`LLMTextCompletionProgram` tells its model of the schema in the prompt and nowhere else. A schema
must not be read out of a prompt, though: a document in it could then dictate the answer. So it is
looked at who calls.
"""

from __future__ import annotations

import inspect
from typing import Any

from llama_index.core.program import LLMTextCompletionProgram

from amulet_integrations.llama_index.output_parsers import json_read_by

_CALLS = {
    LLMTextCompletionProgram.__call__.__code__,
    LLMTextCompletionProgram.acall.__code__,
    LLMTextCompletionProgram.stream_call.__code__,
    LLMTextCompletionProgram.astream_call.__code__,
}
_NEAR = 4  # this function, the reading of the call, the public method, the program


def format_wanted_by_caller() -> dict[str, Any] | None:
    """The response format of the program that has called a public method; None for others."""
    frame = inspect.currentframe()
    for _ in range(_NEAR):
        frame = frame.f_back if frame else None
        if frame is not None and frame.f_code in _CALLS:
            return json_read_by(frame.f_locals["self"].prompt.output_parser, {})
    return None
