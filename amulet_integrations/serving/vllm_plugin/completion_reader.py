"""What preferences need to know of the body of a request to vLLM, and what they cannot go with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from amulet_integrations.prompting import ChatMessage
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.openai_api.requests.chat_request import ChatRequest
from amulet_integrations.serving.request_faults import error_of_faults

_READ = ("messages", "tools", "tool_choice", "parallel_tool_calls")
_PARAMETERS: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "use_beam_search": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (),
    "logprob_token_ids": (),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "echo": (False,),
    "suffix": ("",),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template": (),
    "documents": ([],),
    "truncate_prompt_tokens": (),
    "thinking_token_budget": (),
    "watermarking": (False,),
    "prompt_embeds": (),
    "kv_transfer_params": (),
    "ec_transfer_params": (),
}
"""What cannot be had with preferences, each with the values that ask for nothing."""


@dataclass(frozen=True)
class ReadRequest:
    """What is written into the contexts of a request.

    Attributes:
        conversation: The messages; a string is a prompt that the client has written whole.
        arguments: The tools, as arguments of `AmuletClient.read_call`.
        asked: Most tokens that the client asks for; None where it does not say.
        is_constrained: Whether vLLM itself holds the answer to a grammar.
    """

    conversation: tuple[ChatMessage, ...] | str
    arguments: dict[str, Any] = field(default_factory=dict)
    asked: int | None = None
    is_constrained: bool = False


ReadBody = Callable[[Any, Request, Mapping[str, Any]], ReadRequest | None]
"""f(vLLM's request, the request, its body) -> what was read; None where no context has a part."""


def read_chat(request: Any, raw_request: Request, body: Mapping[str, Any]) -> ReadRequest | None:
    """Reads a conversation. Calls that have to be made are written without preferences.

    Raises:
        ApiError: 400, preferences cannot go with a parameter.
    """
    if request.tools and request.tool_choice not in (None, "auto", "none"):
        return None
    _refuse_parameters(body)
    own = {name: body[name] for name in _READ if body.get(name) is not None}
    try:
        chat = ChatRequest.model_validate({"model": "", **own})
    except ValidationError as error:
        faults = [{**it, "loc": ("body", *it["loc"])} for it in error.errors()]
        raise error_of_faults(raw_request, faults, body) from None
    arguments = chat.call_arguments(None)
    variables = dict(request.chat_template_kwargs or {})
    if (effort := request.reasoning_effort) is not None:
        variables = {"enable_thinking": effort != "none", **variables, "reasoning_effort": effort}
    if variables:
        arguments["chat_template_kwargs"] = variables
    is_constrained = _is_constrained(request)
    if is_constrained and chat.tools:
        raise ApiError(
            400,
            "This server cannot follow preferences in an answer that may call tools and has a "
            "format as well. Send the tools or the format.",
            param="response_format",
        )
    asked = request.max_completion_tokens or request.max_tokens
    return ReadRequest(chat.conversation(), arguments, asked, is_constrained)


def read_completion(
    request: Any, _raw_request: Request, body: Mapping[str, Any]
) -> ReadRequest | None:
    """Reads a prompt.

    Raises:
        ApiError: 400, it is not one text, or preferences cannot go with a parameter.
    """
    _refuse_parameters(body)
    prompt = request.prompt
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise ApiError(
            400,
            "This server follows preferences for one prompt at a time, given as text. Send one, or "
            "leave the user out.",
            param="prompt",
        )
    return ReadRequest(prompt, asked=request.max_tokens, is_constrained=_is_constrained(request))


def _is_constrained(request: Any) -> bool:
    wanted = request.response_format
    return request.structured_outputs is not None or (wanted is not None and wanted.type != "text")


def _refuse_parameters(body: Mapping[str, Any]) -> None:
    for name, neutral in _PARAMETERS.items():
        value = body.get(name)
        if value is not None and not any(_is_same(value, it) for it in neutral):
            raise ApiError(
                400,
                f"{name}: this server cannot do it in an answer that follows preferences. Leave it "
                "out, or leave the user out.",
                param=name,
                code="unsupported_parameter",
            )


def _is_same(value: Any, neutral: Any) -> bool:
    """Whether they are equal; 0 is not False: `logprobs=0` asks for those of the answer."""
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)
