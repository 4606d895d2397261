"""The JSON that a text program waits for.

`LLMTextCompletionProgram` tells its model of the schema in the prompt and nowhere else. A schema
must not be read out of a prompt, though: a document in it could then dictate the answer. So it is
looked at who calls.
"""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any

from llama_index.core.program import LLMTextCompletionProgram

from amulet_integrations.llama_index.output_parsers import json_read_by

_CALLS = {
    LLMTextCompletionProgram.__call__.__code__,
    LLMTextCompletionProgram.acall.__code__,
    LLMTextCompletionProgram.stream_call.__code__,
    LLMTextCompletionProgram.astream_call.__code__,
}
_OF_A_CHAT = {"chat", "stream_chat", "achat", "astream_chat", "_chat", "format_wanted_by_caller"}
_SPANS = "llama_index_instrumentation"


def format_wanted_by_caller() -> dict[str, Any] | None:
    """The response format of the program that has called a chat method; None for others."""
    frame = inspect.currentframe()
    while frame is not None and _is_of_this_chat(frame):
        frame = frame.f_back
    if frame is None or frame.f_code not in _CALLS:
        return None
    return json_read_by(frame.f_locals["self"].prompt.output_parser, {})


def _is_of_this_chat(frame: FrameType) -> bool:
    """Whether it is our own, an overriding method's in a subclass, or a span's around that."""
    module = str(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_name in _OF_A_CHAT or module.startswith(_SPANS)
