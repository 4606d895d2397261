"""A conversation and preferences in, token ids of every context out.

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

__all__ = ["DEFAULT_SEPARATOR", "DEFAULT_SYSTEM", "ChatMessage", "PromptBuilder"]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".builder": ("PromptBuilder",),
        ".messages": ("ChatMessage", "DEFAULT_SEPARATOR", "DEFAULT_SYSTEM"),
    },
)
