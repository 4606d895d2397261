"""A call made of words that stand nowhere else, to see what a chat template makes of it."""

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


# A character as disguises are made of: a template that escapes it cannot be trusted with others'.
_PRIVATE_USE = "\U000ffffd"


def word(name: str) -> str:
    """A word that stands in no template and in no conversation."""
    return f"sentinel{name}{_PRIVATE_USE}"


def shown(names: Sequence[str], rendered: str) -> bool:
    """Whether every one of the words came out."""
    return all(word(name) in rendered for name in names)


SENTINEL = {
    "type": "function",
    "function": {
        "name": word("tool"),
        "description": word("about"),
        "parameters": {
            "type": "object",
            "properties": {word("parameter"): {"type": "string"}},
            "required": [word("parameter")],
        },
    },
}


def said(role: str, name: str) -> Turn:
    """A turn of one word."""
    return {"role": role, "content": word(name)}


def calling(*names: str) -> Turn:
    """A turn with a call of each name, the word its argument."""
    calls = [
        {
            "id": f"{name:0<9}",
            "type": "function",
            "function": {"name": word("called"), "arguments": {"key": word(name)}},
        }
        for name in names
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(name: str) -> Turn:
    """What the call of that name gave."""
    content = word("result")
    return {"role": "tool", "content": content, "tool_call_id": f"{name:0<9}", "name": "called"}


def between(text: str, before: str, after: str) -> str:
    """What stands between two words of a text."""
    return text.partition(before)[2].partition(after)[0].strip()


_NAME = re.escape(word("called"))
_ARGUMENTS = r'\{\s*"key":\s*"' + re.escape(word("one")) + r'"\s*\}'
_CALL_OBJECT = rf'\{{\s*"name":\s*"{_NAME}",\s*"arguments":\s*{_ARGUMENTS}'
_STYLES: dict[CallStyle, str] = {
    "hermes": rf"<tool_call>\s*{_CALL_OBJECT}\s*\}}\s*</tool_call>",
    # With or without the call's id.
    "mistral": rf"\[TOOL_CALLS\]\s*\[{_CALL_OBJECT}[^{{}}]*\}}\]",
    "mistral-args": rf"\[TOOL_CALLS\]\s*{_NAME}(\[CALL_ID\]\w*)?\[ARGS\]\s*{_ARGUMENTS}",
}
_LLAMA = rf'(<\|python_tag\|>)?\s*\{{\s*"name":\s*"{_NAME}",\s*"parameters":\s*{_ARGUMENTS}\s*\}}'


def style_of(rendered: str, opening: str) -> CallStyle | None:
    """The style of a rendered call, where `opening` stands between a question and an answer."""
    for style, pattern in _STYLES.items():
        if re.search(pattern, rendered):
            return style
    # Nothing marks these calls, so nothing but an answer's opening may stand before them.
    pattern = re.escape(word("question")) + r"\s*" + re.escape(opening) + r"\s*" + _LLAMA
    return "llama" if re.search(pattern, rendered) else None
