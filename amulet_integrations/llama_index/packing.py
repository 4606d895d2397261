"""Packing documents into prompts, counted with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.utilities.token_counting import TokenCounter

_AROUND_A_MESSAGE = 8  # roles and the marks of a turn; chat templates need 4 to 7


class ModelPromptHelper(PromptHelper):
    """LlamaIndex's helper; its own counts messages with another model's tokenizer."""

    def __init__(self, tokenizer: Callable[[str], list[int]], **options: Any) -> None:
        super().__init__(tokenizer=tokenizer, **options)
        self._token_counter = _MessageCounter(tokenizer)


class _MessageCounter(TokenCounter):
    def estimate_tokens_in_messages(self, messages: list[ChatMessage]) -> int:
        texts = [message.content or "" for message in messages]
        own = sum(self.get_string_tokens(text) + _AROUND_A_MESSAGE for text in texts)
        return max(own, super().estimate_tokens_in_messages(messages))
