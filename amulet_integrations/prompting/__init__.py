"""A conversation and preferences in, token ids of every context out; and the answer read back.

Knows no framework, no store and no engine; importing it imports neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.prompting.builder import PromptBuilder
    from amulet_integrations.prompting.messages import (
        DEFAULT_SEPARATOR,
        DEFAULT_SYSTEM,
        ChatMessage,
    )
    from amulet_integrations.prompting.parsing.parser import AnswerParser
    from amulet_integrations.prompting.tools.formats import ToolFormat
    from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool, ToolCall, ToolUse

__all__ = [
    "DEFAULT_SEPARATOR",
    "DEFAULT_SYSTEM",
    "AnswerParser",
    "ChatMessage",
    "JsonOutput",
    "PromptBuilder",
    "Tool",
    "ToolCall",
    "ToolFormat",
    "ToolUse",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".parsing.parser": ("AnswerParser",),
        ".builder": ("PromptBuilder",),
        ".messages": ("ChatMessage", "DEFAULT_SEPARATOR", "DEFAULT_SYSTEM"),
        ".tools.formats": ("ToolFormat",),
        ".tools.tool_use": ("JsonOutput", "Tool", "ToolCall", "ToolUse"),
    },
)
