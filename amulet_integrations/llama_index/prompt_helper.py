"""Packs documents into prompts, counted with the model's own tokenizer."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.llms.types import ChatMessage as LlamaMessage
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.utilities.token_counting import TokenCounter

from amulet_integrations.prompting import ChatMessage

from .client_llm import ClientLLM

DEFAULT_PREFERENCE_TOKENS = 128
_TOKENS_AROUND_MESSAGE = 8  # the role and the marks of a turn; chat templates need 4 to 7


class ModelPromptHelper(PromptHelper):
    """LlamaIndex's helper; its own counts messages with another model's tokenizer.

    Args:
        llm: The model that the prompts are for. It is loaded.
        preference_tokens: Room left for a user's preferences, in tokens.
        **options: Other options of `PromptHelper`.
    """

    def __init__(self, llm: ClientLLM, preference_tokens: int, **options: Any) -> None:
        tokenizer = llm.tokenizer
        one_token = [ChatMessage(role="user", content="a")]
        template_tokens = llm.personalizer.prompts.count_tokens(one_token) - 1
        reserved = template_tokens + len(tokenizer(llm.separator)) + preference_tokens
        super().__init__(
            context_window=llm.context_window - reserved,
            num_output=llm.max_tokens,
            tokenizer=tokenizer,
            **options,
        )
        self._token_counter = _MessageCounter(tokenizer)


class _MessageCounter(TokenCounter):
    def estimate_tokens_in_messages(self, messages: list[LlamaMessage]) -> int:
        texts = [message.content or "" for message in messages]
        own = sum(self.get_string_tokens(text) + _TOKENS_AROUND_MESSAGE for text in texts)
        return max(own, super().estimate_tokens_in_messages(messages))
