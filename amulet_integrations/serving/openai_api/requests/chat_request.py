"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from amulet_integrations.errors import errors_at
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.openai_tools import checked_tool, unique_tools
from amulet_integrations.prompting.openai_compat.response_format import checked_by_caller

from .generation_options import GenerationOptions, TokenLimit
from .output_fields import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedChoice,
    TextFormat,
)
from .request_messages import MOST_ITEMS, RequestMessage, to_chat_messages
from .request_model import WHOLE, fault

_MOST_TOOLS = 512
_MOST_TEMPLATE_VARIABLES = 64
FunctionTools = Annotated[list[FunctionTool], Field(max_length=_MOST_TOOLS, fail_fast=True)]
TemplateVariables = Annotated[dict[str, Any], Field(max_length=_MOST_TEMPLATE_VARIABLES)]


class ChatRequest(GenerationOptions):
    """A conversation to be answered, and what the answer has to be like.

    Attributes:
        messages: The conversation.
        max_completion_tokens: Most tokens of an answer; the newer name of `max_tokens`.
        tools: The functions that the answer may call.
        tool_choice: Whether it may or must.
        parallel_tool_calls: Whether one answer may hold several calls.
        response_format: Whether the answer is JSON, and its schema.
        logprobs: Whether the answer has the log-probability of each token.
        top_logprobs: How many of the likeliest tokens it names for each.
        chat_template_kwargs: Further variables of the model's chat template, by vLLM's name.
    """

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "metadata": (),
        "prediction": (),
        "prompt_cache_key": (),
        "prompt_cache_options": (),
        "prompt_cache_retention": (),
        "safety_identifier": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
    }
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationOptions.neutral,
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "modalities": (["text"],),
        "moderation": (),
        "reasoning_effort": ("medium",),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    hints: ClassVar[Mapping[str, str]] = {
        **GenerationOptions.hints,
        "functions": "Use 'tools'.",
        "function_call": "Use 'tool_choice'.",
        "reasoning_effort": (
            'Models that may think read "chat_template_kwargs": {"enable_thinking": true}.'
        ),
    }

    messages: Annotated[
        list[RequestMessage], Field(min_length=1, max_length=MOST_ITEMS, fail_fast=True)
    ]
    max_completion_tokens: TokenLimit = None
    tools: FunctionTools | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: (
        Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
        | None
    ) = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    chat_template_kwargs: TemplateVariables | None = None

    audio: Any = None
    function_call: Any = None
    functions: Any = None
    metadata: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    @model_validator(mode="after")
    def _check_token_limits(self) -> ChatRequest:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise fault(
                "invalid_value",
                "max_tokens and max_completion_tokens are one parameter, but their values differ. "
                "Send one of them.",
                "max_tokens",
            )
        return self

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer, by whichever name it was sent."""
        return self.max_tokens or self.max_completion_tokens

    @property
    def ignored(self) -> list[str]:
        """What the client has sent and what has no effect here, for `amulet.ignored`."""
        has_names = any("name" in it.without_effect for it in self.messages)
        return super().ignored + (["messages.name"] if has_names else [])

    def conversation(self) -> tuple[ChatMessage, ...]:
        """The messages, as prompts are written from them.

        Raises:
            PromptError: They cannot be read.
        """
        return to_chat_messages(self.messages)

    def _checked_tools(self) -> list[dict[str, Any]]:
        checked = []
        for at, tool in enumerate(self.tools or ()):
            with errors_at(f"tools[{at}].function"):
                checked.append(checked_tool(tool.to_function()))
        with errors_at("tools"):
            return unique_tools(checked)

    def call_arguments(self, user_id: str | None) -> dict[str, Any]:
        """As in `GenerationOptions`, with what shapes the answer; reads schemas, so it may take.

        Raises:
            PromptError: A tool cannot be used, or two differ but have one name.
            UnsupportedGrammarError: A schema cannot be enforced.
        """
        choice, wanted = self.tool_choice, self.response_format
        shape = {
            "tools": self._checked_tools(),
            "tool_choice": choice.model_dump() if isinstance(choice, NamedChoice) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": wanted
            and checked_by_caller(wanted.model_dump(exclude_none=True, by_alias=True)),
            "logprobs": self.logprobs,
            "top_logprobs": self.top_logprobs,
            "chat_template_kwargs": self.chat_template_kwargs,
        }
        given = {name: value for name, value in shape.items() if value is not None}
        return super().call_arguments(user_id) | given
