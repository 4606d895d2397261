"""What a prompt is made from besides the preference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.escaping import strings_in
from amulet_integrations.prompting.messages import (
    ChatMessage,
    check_conversation,
    check_encodable,
)
from amulet_integrations.prompting.tools.calls import numbered_calls
from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool
from amulet_integrations.prompting.tools.turns import tool_turn

# What we tell the template, or the tokenizer, ourselves.
_OURS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)

_JSON_SECTION = "Answer with nothing but JSON that follows this JSON schema:\n%s"


@dataclass(frozen=True)
class Asked:
    """A conversation with all that the model is told along with it.

    Attributes:
        messages: The conversation.
        tools: What the model may call.
        json_output: What JSON the answer has to be.
        options: More arguments for the chat template.
    """

    messages: Sequence[ChatMessage]
    tools: Sequence[Tool] = ()
    json_output: JsonOutput | None = None
    options: Mapping[str, Any] | None = None

    @property
    def speaks_of_tools(self) -> bool:
        """Whether there are tools, or calls and results in the conversation."""
        return bool(self.tools) or any(m.tool_calls or m.role == "tool" for m in self.messages)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the model is told."""
        told = self.json_output is not None and self.json_output.in_prompt
        return self.json_output.json_schema if self.json_output and told else None

    @property
    def tool_turns(self) -> list[dict[str, Any]]:
        """The tools as chat templates take them."""
        return [tool_turn(tool) for tool in self.tools]

    def check(self) -> None:
        """Refuses what cannot be made a prompt of.

        Raises:
            PromptError: The conversation is unsound, something is no JSON or no whole text, or an
                argument for the template is one that is given by us.
        """
        check_conversation(self.messages)
        numbered_calls(self.messages)  # refuses tool messages that answer no call
        check_options(self.options or {})
        for text in self.strings():
            check_encodable(text, "tools, calls, schema or chat_template_kwargs")

    def strings(self) -> Iterator[str]:
        """Every string that somebody else wrote, but the system texts and preferences.

        Raises:
            PromptError: Something in the tools, calls, schema or options is no JSON.
        """
        for message in self.messages:
            yield message.content
            yield message.reasoning or ""
            for call in message.tool_calls:
                yield call.name
                yield from strings_in(call.arguments)
        for tool in self.tools:
            yield from strings_in(tool.model_dump())
        yield from strings_in(self.schema)
        yield from strings_in(dict(self.options or {}))


def json_section(schema: dict[str, Any] | None) -> str:
    """What the system text says of the JSON that is wanted; "" for None."""
    if schema is None:
        return ""
    return _JSON_SECTION % json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses arguments for a template that would override ours.

    Raises:
        PromptError: One of the names is taken, or no string.
    """
    if odd := [name for name in options if not isinstance(name, str)]:
        raise PromptError(
            f"chat_template_kwargs has the name {odd[0]!r}, but names of variables are strings."
        )
    taken = [name for name in options if name in _OURS or name.endswith("_token")]
    if taken:
        raise PromptError(
            f"chat_template_kwargs has {', '.join(map(repr, taken))}, which the prompt builder "
            "sets itself. Pass only what the chat template reads besides the messages and tools, "
            "such as enable_thinking."
        )
