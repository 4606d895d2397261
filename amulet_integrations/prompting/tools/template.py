"""How a model is told of tools, of the calls it made and of what they gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from amulet_integrations.prompting.chat_template import ChatFormat, PromptFormat
from amulet_integrations.prompting.tools.fallback import WrittenTools
from amulet_integrations.prompting.tools.native import OwnTools
from amulet_integrations.prompting.tools.probe import CallStyle
from amulet_integrations.prompting.tools.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ToolTemplate(Protocol):
    """How tools get into the prompts of one model."""

    source: str

    @property
    def format(self) -> PromptFormat:
        """What renders conversations in which tools are spoken of."""
        ...

    @property
    def style(self) -> CallStyle:
        """How the model writes calls."""
        ...

    def section(self, tools: Sequence[dict[str, Any]]) -> str:
        """What the system text has to say of the tools; "" where the template says it."""
        ...

    def arranged(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns with calls and results where this model reads them."""
        ...

    def handed(self, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tools that the template itself tells of."""
        ...


def tool_template(tokenizer: PreTrainedTokenizerBase, plain: PromptFormat) -> ToolTemplate:
    """How to tell a model of tools.

    Args:
        tokenizer: The model's tokenizer.
        plain: The format of its prompts without tools.

    Returns:
        The model's own way if its template has one that is known here, otherwise text.
    """
    for source in _sources(tokenizer, plain):
        for folds_system in (False, True):
            for as_text in (False, True):
                chat = ChatFormat(tokenizer, source, folds_system=folds_system)
                own = OwnTools(chat, arguments_as_text=as_text)
                if own.is_usable:
                    return own
    return WrittenTools(plain)


def _sources(tokenizer: PreTrainedTokenizerBase, plain: PromptFormat) -> list[str]:
    """The templates that may know tools: some tokenizers have one of its own for them."""
    if not plain.is_chat:
        return []
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and plain.source == templates.get("default"):
        return [source for source in (plain.source, templates.get("tool_use")) if source]
    return [plain.source]
