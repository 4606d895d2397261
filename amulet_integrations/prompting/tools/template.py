"""How tools, calls and results get into the prompts of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from amulet_integrations.prompting.chat_template import ChatFormat, PromptFormat
from amulet_integrations.prompting.tools.fallback import FallbackToolTemplate
from amulet_integrations.prompting.tools.native import NativeToolTemplate
from amulet_integrations.prompting.tools.probe import CallStyle
from amulet_integrations.prompting.tools.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ToolTemplate(Protocol):
    """How tools, calls and results get into the prompts of one model.

    Attributes:
        source: The source of everything that writes markers.
    """

    source: str

    @property
    def format(self) -> PromptFormat:
        """Renders the conversations that mention tools."""
        ...

    @property
    def style(self) -> CallStyle:
        """How the model writes calls."""
        ...

    def system_section(self, tools: Sequence[dict[str, Any]]) -> str:
        """The part of the system text that lists the tools; "" if the template lists them."""
        ...

    def arrange_turns(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns, with calls and results in the places where this model reads them."""
        ...

    def template_tools(self, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tools that are passed to the chat template."""
        ...


def find_tool_template(tokenizer: PreTrainedTokenizerBase, plain: PromptFormat) -> ToolTemplate:
    """The way in which tools are written for a model.

    Args:
        tokenizer: The model's tokenizer.
        plain: The format of its prompts without tools.

    Returns:
        The model's own template, if it supports tools in a way that is known here; otherwise a
        template that writes them as text.
    """
    for source in _sources(tokenizer, plain):
        for folds_system in (False, True):
            for as_text in (False, True):
                chat = ChatFormat(tokenizer, source, folds_system=folds_system)
                native = NativeToolTemplate(chat, arguments_as_text=as_text)
                if native.is_usable:
                    return native
    return FallbackToolTemplate(plain)


def _sources(tokenizer: PreTrainedTokenizerBase, plain: PromptFormat) -> list[str]:
    """The templates that may support tools; some tokenizers have a second one for them."""
    if not plain.is_chat:
        return []
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and plain.source == templates.get("default"):
        return [source for source in (plain.source, templates.get("tool_use")) if source]
    return [plain.source]
