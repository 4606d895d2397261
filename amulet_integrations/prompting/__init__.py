"""Turns a conversation and preferences into token ids of every context, and reads answers back.

Uses no framework, no store and no engine; importing it imports neither torch nor transformers.
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
    from amulet_integrations.prompting.prepared_prompt import PreparedPrompt
    from amulet_integrations.prompting.tools.formats import ToolFormat
    from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool, ToolCall, ToolUse

__all__ = [
    "DEFAULT_SEPARATOR",
    "DEFAULT_SYSTEM",
    "AnswerParser",
    "ChatMessage",
    "JsonOutput",
    "PreparedPrompt",
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
        ".prepared_prompt": ("PreparedPrompt",),
        ".messages": ("ChatMessage", "DEFAULT_SEPARATOR", "DEFAULT_SYSTEM"),
        ".tools.formats": ("ToolFormat",),
        ".tools.tool_use": ("JsonOutput", "Tool", "ToolCall", "ToolUse"),
    },
)
