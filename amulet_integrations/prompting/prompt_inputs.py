"""What a prompt is made from besides a preference, and what is refused in it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool
from amulet_integrations.prompting.tools.turns import number_calls

from .escaping import iter_strings
from .messages import ChatMessage, check_conversation, check_encodable


@dataclass(frozen=True)
class PromptInputs:
    """A conversation, with everything else that the model is given besides a preference.

    Attributes:
        messages: The conversation.
        tools: The tools that the model may call.
        json_output: The JSON that the answer has to be.
        chat_template_kwargs: More arguments for the chat template.
    """

    messages: Sequence[ChatMessage]
    tools: Sequence[Tool] = ()
    json_output: JsonOutput | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None

    @property
    def mentions_tools(self) -> bool:
        """Whether there are tools, or calls and results in the conversation."""
        return bool(self.tools) or any(m.tool_calls or m.role == "tool" for m in self.messages)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that stands in the prompt, if any."""
        output = self.json_output
        return output.json_schema if output is not None and output.in_prompt else None

    @property
    def texts_always_written(self) -> list[str]:
        """The contents that a template writes whole; it may leave thoughts of answers out."""
        return [message.content for message in self.messages if message.role != "assistant"]

    def validate(self) -> None:
        """Refuses what no prompt can be made from.

        Raises:
            PromptError: The conversation is invalid, something is not JSON or cannot be encoded,
                or `chat_template_kwargs` has a reserved name.
        """
        check_conversation(self.messages)
        number_calls(self.messages)  # refuses tool messages that answer no call
        _check_template_kwargs(self.chat_template_kwargs or {})
        for text in self.strings():
            check_encodable(text, "tools, calls, schema or chat_template_kwargs")

    def strings(self) -> Iterator[str]:
        """Every string that somebody else wrote.

        Raises:
            PromptError: Something in the tools, calls, schema or template arguments is not JSON.
        """
        for message in self.messages:
            yield message.content
            yield message.reasoning or ""
            for call in message.tool_calls:
                yield call.name
                yield from iter_strings(call.arguments)
        for tool in self.tools:
            yield from iter_strings(tool.model_dump())
        yield from iter_strings(self.schema)
        yield from iter_strings(dict(self.chat_template_kwargs or {}))


def _check_template_kwargs(kwargs: Mapping[str, Any]) -> None:
    if odd := [name for name in kwargs if not isinstance(name, str)]:
        raise PromptError(
            f"chat_template_kwargs has the name {odd[0]!r}, but names of variables are strings."
        )
    taken = [name for name in kwargs if name in _reserved_names() or name.endswith("_token")]
    if taken:
        raise PromptError(
            f"chat_template_kwargs has {', '.join(map(repr, taken))}, which the prompt builder "
            "sets itself. Pass only what the chat template reads besides the messages and tools, "
            "such as enable_thinking."
        )


@cache
def _reserved_names() -> frozenset[str]:
    """What the prompt builder, or the tokenizer, passes to the template itself."""
    from transformers import PreTrainedTokenizerBase  # noqa: PLC0415 - importing it takes long

    parameters = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    return frozenset({"messages", *parameters}) - {"documents"}
