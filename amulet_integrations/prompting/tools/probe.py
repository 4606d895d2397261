"""Probes: turns of sentinel words, rendered to find out what a chat template does with tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from amulet_integrations.prompting.tools.turns import Turn

CallStyle = Literal["hermes", "llama", "mistral", "mistral-args"]
"""How a model writes a call:

- hermes: ``<tool_call>`` around ``{"name": ..., "arguments": {...}}``
- llama: ``{"name": ..., "parameters": {...}}`` as the whole answer
- mistral: ``[TOOL_CALLS]`` before a list of ``{"name": ..., "arguments": {...}}``
- mistral-args: ``[TOOL_CALLS]name[ARGS]{...}``
"""

# Stands for an escaped character: a template must render such characters unchanged.
_PRIVATE_USE = "\U000ffffd"


def sentinel(name: str) -> str:
    """A word that occurs in no template and in no conversation."""
    return f"sentinel{name}{_PRIVATE_USE}"


def all_rendered(names: Sequence[str], rendered: str) -> bool:
    """Whether the sentinels of all these names occur in a rendered prompt."""
    return all(sentinel(name) in rendered for name in names)


PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": sentinel("tool"),
        "description": sentinel("about"),
        "parameters": {
            "type": "object",
            "properties": {sentinel("parameter"): {"type": "string"}},
            "required": [sentinel("parameter")],
        },
    },
}


def probe_turn(role: str, name: str) -> Turn:
    """A turn whose content is one sentinel."""
    return {"role": role, "content": sentinel(name)}


def probe_calls(*names: str) -> Turn:
    """An assistant's turn with one call for each name, the sentinel of the name its argument."""
    calls = [
        {
            "id": f"{name:0<9}",
            "type": "function",
            "function": {"name": sentinel("called"), "arguments": {"key": sentinel(name)}},
        }
        for name in names
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def probe_result(name: str) -> Turn:
    """The result of the call of that name."""
    content = sentinel("result")
    return {"role": "tool", "content": content, "tool_call_id": f"{name:0<9}", "name": "called"}


_NAME = re.escape(sentinel("called"))
_ARGUMENTS = r'\{\s*"key":\s*"' + re.escape(sentinel("one")) + r'"\s*\}'
_CALL_OBJECT = rf'\{{\s*"name":\s*"{_NAME}",\s*"arguments":\s*{_ARGUMENTS}'
_STYLES: dict[CallStyle, str] = {
    "hermes": rf"<tool_call>\s*{_CALL_OBJECT}\s*\}}\s*</tool_call>",
    # With or without the id of the call.
    "mistral": rf"\[TOOL_CALLS\]\s*\[{_CALL_OBJECT}[^{{}}]*\}}\]",
    "mistral-args": rf"\[TOOL_CALLS\]\s*{_NAME}(\[CALL_ID\]\w*)?\[ARGS\]\s*{_ARGUMENTS}",
}
_LLAMA = rf'(<\|python_tag\|>)?\s*\{{\s*"name":\s*"{_NAME}",\s*"parameters":\s*{_ARGUMENTS}\s*\}}'


def detect_call_style(rendered: str, answered: str) -> CallStyle | None:
    """The style in which a template writes calls; None if it is not a known one.

    Args:
        rendered: The probe turn "question" and the probe call "one", rendered.
        answered: The probe turns "question" and "one", rendered.
    """
    for style, pattern in _STYLES.items():
        if re.search(pattern, rendered):
            return style
    # Nothing marks calls of this style, so only what opens an answer may stand before them.
    question = sentinel("question")
    opening = answered.partition(question)[2].partition(sentinel("one"))[0].strip()
    pattern = rf"{re.escape(question)}\s*{re.escape(opening)}\s*{_LLAMA}"
    return "llama" if re.search(pattern, rendered) else None
