"""Finds out how tools, calls and results get into the prompts of a model."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from amulet_integrations.prompting.chat_template import ChatFormat, PromptFormat

from .fallback import FallbackToolTemplate
from .native import NativeToolTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ToolTemplate = NativeToolTemplate | FallbackToolTemplate
"""How tools, calls and results get into the prompts of one model."""


def find_tool_template(tokenizer: PreTrainedTokenizerBase, plain: PromptFormat) -> ToolTemplate:
    """The way in which tools are written for a model.

    Args:
        tokenizer: The model's tokenizer.
        plain: The format of its prompts without tools.

    Returns:
        The model's own template, if it supports tools in a way that is known here; otherwise a
        template that writes them as text.
    """
    variants = product(_sources(tokenizer, plain), (False, True), (False, True))
    for source, folds_system, as_text in variants:
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
