"""Packs documents into prompts, counted with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage as LlamaMessage
from llama_index.core.indices.prompt_helper import (
    DEFAULT_CHUNK_OVERLAP_RATIO,
    DEFAULT_PADDING,
    PromptHelper,
)
from llama_index.core.utilities.token_counting import TokenCounter

from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError
from amulet_integrations.prompting import ChatMessage

from .client_llm import ClientLLM

DEFAULT_PREFERENCE_TOKENS = 128
_OPTIONS = ("num_output", "chunk_overlap_ratio", "chunk_size_limit", "separator")
_TOKENS_AROUND_MESSAGE = 8  # the role and the marks of a turn; chat templates need 4 to 7


class ModelPromptHelper(PromptHelper):
    """LlamaIndex's helper; its own counts messages with another model's tokenizer.

    Args:
        llm: The model that the prompts are for. It is loaded.
        preference_tokens: Room left for a user's preferences, in tokens.
        **options: Other options of `PromptHelper`: `num_output` (by default the model's
            `max_tokens`), `chunk_overlap_ratio` (at least 0, below 1), `chunk_size_limit` and
            `separator`.

    Raises:
        UnknownArgumentError: One of the options is unknown.
        InvalidParamsError: An option is out of its range, or nothing is left for documents.
    """

    def __init__(self, llm: ClientLLM, preference_tokens: int, **options: Any) -> None:
        if unknown := options.keys() - _OPTIONS:
            raise UnknownArgumentError.for_names("prompt_helper", unknown, _OPTIONS)
        options = {name: value for name, value in options.items() if value is not None}
        _check_count("preference_tokens", preference_tokens, least=0)
        _check_chunks(options)
        tokenizer = llm.tokenizer
        one_token = [ChatMessage(role="user", content="a")]
        template_tokens = llm.personalizer.prompts.count_tokens(one_token) - 1
        reserved = template_tokens + len(tokenizer(llm.separator)) + preference_tokens
        window, num_output = llm.context_window, options.pop("num_output", llm.max_tokens)
        _check_room(window - reserved, num_output, f"{window} tokens, {reserved} reserved")
        super().__init__(
            context_window=window - reserved,
            num_output=num_output,
            tokenizer=tokenizer,
            **options,
        )
        self._token_counter = _MessageCounter(tokenizer)

    def __setattr__(self, name: str, value: Any) -> None:
        # `Settings.num_output` and `Settings.context_window` are set here.
        sizes = {"num_output": self.num_output, "context_window": self.context_window}
        if name in sizes:
            sizes[name] = value
            _check_room(
                **sizes, window=f"{sizes['context_window']} tokens without what is reserved"
            )
        elif name in _OPTIONS and value is not None:
            _check_chunks({name: value})
        super().__setattr__(name, value)


def _check_room(context_window: int, num_output: int, window: str) -> None:
    _check_count("num_output", num_output, least=1)
    _check_count("context_window", context_window)
    left = context_window - num_output - DEFAULT_PADDING
    if left <= 0:
        raise InvalidParamsError(
            f"num_output={num_output}: in a context window of {window}, an answer of "
            f"{num_output} leaves {left} tokens for questions and documents. Give a smaller "
            "num_output= here or max_tokens= to the model (or fewer preference_tokens=)."
        )


def _check_chunks(options: Mapping[str, Any]) -> None:
    ratio = options.get("chunk_overlap_ratio", DEFAULT_CHUNK_OVERLAP_RATIO)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise InvalidParamsError(
            f"chunk_overlap_ratio={ratio!r}: give a number of at least 0 and below 1."
        )
    _check_count("chunk_size_limit", options.get("chunk_size_limit", 1), least=1)
    if not isinstance(separator := options.get("separator", " "), str):
        raise InvalidParamsError(f"separator={separator!r}: give a string.")


def _check_count(name: str, value: Any, least: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidParamsError(f"{name}={value!r}: give a whole number of tokens.")
    if least is not None and value < least:
        raise InvalidParamsError(f"{name}={value!r}: give at least {least}.")


class _MessageCounter(TokenCounter):
    def estimate_tokens_in_messages(self, messages: list[LlamaMessage]) -> int:
        texts = [message.content or "" for message in messages]
        own = sum(self.get_string_tokens(text) + _TOKENS_AROUND_MESSAGE for text in texts)
        return max(own, super().estimate_tokens_in_messages(messages))
