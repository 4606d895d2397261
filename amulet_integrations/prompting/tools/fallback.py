"""Tools in the prompts of models whose chat template does not support them, or that have none.

The system text lists the tools, calls stand at the end of the assistant's turns, and results become
turns of the user.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from amulet_integrations.prompting.chat_template import PromptFormat

from .probe import CallStyle
from .turns import Turn


class FallbackToolTemplate:
    """Writes tools, calls and results as text.

    Args:
        plain: The format of the model's prompts.

    Attributes:
        format: Renders the conversations that mention tools.
        source: The source of everything that writes markers.
        style: How the model writes calls.
    """

    style: CallStyle = "hermes"

    def __init__(self, plain: PromptFormat) -> None:
        self.format = plain
        self.source: str = plain.source + _SECTION + _RESULT

    def describe_tools(self, tools: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
        """A part of the system text on the tools and how to call them, and no tools."""
        lines = (json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
        return _SECTION % "\n".join(lines) if tools else "", []

    def arrange_turns(self, turns: Sequence[Turn]) -> list[Turn]:
        """Writes calls at the end of the assistant's text, and results in a row as one turn."""
        arranged: list[Turn] = []
        after_result = False
        for turn in turns:
            is_result = turn["role"] == "tool"
            written = _with_result(turn) if is_result else _with_calls(turn)
            if is_result and after_result:
                content = arranged[-1]["content"] + "\n" + written["content"]
                arranged[-1] = {**written, "content": content}
            else:
                arranged.append(written)
            after_result = is_result
        return arranged


_SECTION = """\
You can call these tools:
<tools>
%s
</tools>
To call a tool, write its name and arguments like this:
<tool_call>
{"name": "...", "arguments": {...}}
</tool_call>"""
_CALL = "<tool_call>\n%s\n</tool_call>"
_RESULT = "<tool_response>\n%s\n</tool_response>"


def _with_calls(turn: Turn) -> Turn:
    if "tool_calls" not in turn:
        return turn
    calls = (json.dumps(call["function"], ensure_ascii=False) for call in turn["tool_calls"])
    parts = [turn["content"], *(_CALL % call for call in calls)]
    kept = {name: value for name, value in turn.items() if name != "tool_calls"}
    return {**kept, "content": "\n".join(filter(None, parts))}


def _with_result(turn: Turn) -> Turn:
    return {"role": "user", "content": _RESULT % turn["content"]}
