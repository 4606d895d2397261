"""The messages of a chat, as OpenAI's clients send them, and as prompts are written from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.content_text import join_texts
from amulet_integrations.prompting.tools.tool_use import ToolCall

from .request_model import UNSUPPORTED, RequestModel, fault


class TextPart(RequestModel):
    """A part of a message: text."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "cache_control": (),
        "prompt_cache_breakpoint": (),
    }

    type: Literal["text"]
    text: str
    cache_control: Any = None
    prompt_cache_breakpoint: Any = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise fault(
                UNSUPPORTED,
                f"The message holds a part of type {kind!r}, but this model reads text only. Leave "
                'it out, or put {"type": "text", "text": …} in its place, with what it shows.',
                "type",
            )
        return data


class RefusalPart(RequestModel):
    """A part of an assistant's message: why it did not answer."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """What the assistant said."""
        return self.refusal


MOST_ITEMS = 2048
"""Most messages of a request and most parts of a message, as in OpenAI's API."""

Text = str | Annotated[list[TextPart], Field(max_length=MOST_ITEMS, fail_fast=True)]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
AssistantParts = Annotated[list[AssistantPart], Field(max_length=MOST_ITEMS, fail_fast=True)]


class InstructionMessage(RequestModel):
    """What the application tells the model. Developer messages count as system messages."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"name": ()}

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(RequestModel):
    """What the user says."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"name": ()}

    role: Literal["user"]
    content: Text
    name: str | None = None


class CalledFunction(RequestModel):
    """A function that the assistant called, with its arguments as JSON."""

    name: str
    arguments: str


class RequestToolCall(RequestModel):
    """A call that the assistant made."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"index": ()}

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None

    def to_tool_call(self) -> ToolCall:
        """The same as prompts are written from.

        Raises:
            PromptError: The arguments are no JSON object.
        """
        try:
            arguments = json.loads(self.function.arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise PromptError(
                f"The call {self.id!r:.80} of {self.function.name!r:.80} has arguments that are no "
                "JSON object. Send the arguments as the model wrote them."
            )
        return ToolCall(name=self.function.name, arguments=arguments, id=self.id)


RequestToolCalls = Annotated[list[RequestToolCall], Field(max_length=MOST_ITEMS, fail_fast=True)]


class AssistantMessage(RequestModel):
    """What the model answered before, with what an answer of this server holds.

    Others call its thoughts `reasoning`; clients send them back by either name.
    """

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"name": (), "annotations": ([],)}
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {"audio": (), "function_call": ()}
    hints: ClassVar[Mapping[str, str]] = {"function_call": "Use 'tool_calls'."}

    role: Literal["assistant"]
    content: str | AssistantParts | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: RequestToolCalls | None = None
    name: str | None = None
    annotations: Any = None
    audio: Any = None
    function_call: Any = None


class ToolMessage(RequestModel):
    """What a tool returned."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"name": ()}

    role: Literal["tool"]
    content: Text
    tool_call_id: str
    name: str | None = None


class FunctionMessage(RequestModel):
    """What a function returned, in the form before tools, which is refused."""

    role: Literal["function"]
    content: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, _data: Any) -> Any:
        raise fault(
            UNSUPPORTED,
            "Messages of the role 'function' are of an old form. Send the call in the assistant's "
            "'tool_calls', and its result as a message of the role 'tool' with its 'tool_call_id'.",
            "role",
        )


RequestMessage = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]


def to_chat_messages(messages: Sequence[RequestMessage]) -> tuple[ChatMessage, ...]:
    """Converts a conversation.

    Raises:
        PromptError: A call's arguments are no JSON object, or a text cannot be encoded.
    """
    names: dict[str, str] = {}
    return tuple(_converted(message, names) for message in messages)


def _converted(message: RequestMessage, names: dict[str, str]) -> ChatMessage:
    """Converts a message; `names` are the tools of earlier calls, by the calls' ids."""
    match message:
        case AssistantMessage():
            calls = tuple(call.to_tool_call() for call in message.tool_calls or ())
            names.update({call.id: call.name for call in calls if call.id is not None})
            said = [_text(message.content), message.refusal or ""]
            return ChatMessage(
                role="assistant",
                content=join_texts(said),
                tool_calls=calls,
                reasoning=message.reasoning_content or message.reasoning,
            )
        case ToolMessage():
            return ChatMessage(
                role="tool",
                content=_text(message.content),
                tool_call_id=message.tool_call_id,
                name=message.name or names.get(message.tool_call_id),
            )
        case UserMessage():
            return ChatMessage(role="user", content=_text(message.content))
        case _:
            return ChatMessage(role="system", content=_text(message.content))


def _text(content: str | Sequence[TextPart | RefusalPart] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return join_texts(part.text for part in content)
