"""What a call asks of the form of its answer: tools, JSON, log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.prompting.openai_compat.response_format import (
    to_json_output,
    to_response_format,
)
from amulet_integrations.prompting.openai_compat.tools import (
    to_openai_choice,
    to_tool_use,
    wants_one_call,
)
from amulet_integrations.prompting.tools.tool_use import JsonOutput, ToolUse

OUTPUT_OPTIONS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "steer_strings",
    "logprobs",
    "top_logprobs",
    "n",
)
"""Call arguments that this module reads."""

_MOST_LOGPROBS = 20


@dataclass(frozen=True)
class OutputOptions:
    """The form that an answer has to have.

    Attributes:
        tool_use: The tools that it may or must call.
        json_output: The JSON that it has to be, where it is no call.
        logprobs: How many likeliest tokens are told with each token; None to tell nothing.
    """

    tool_use: ToolUse | None = None
    json_output: JsonOutput | None = None
    logprobs: int | None = None

    @classmethod
    def read(cls, arguments: Mapping[str, Any], *, steer_strings: bool = False) -> OutputOptions:
        """Reads a call's arguments, as `plain_form` has written them.

        Args:
            arguments: Those of the call; others than `OUTPUT_OPTIONS` are passed over.
            steer_strings: What holds where the call says nothing about it.

        Raises:
            PromptError: Tools, their choice or the response format cannot be followed.
            InvalidParamsError: `logprobs`, `top_logprobs` or `n` is out of its range.
            UnsupportedGrammarError: A schema cannot be enforced.
        """
        _check_n(arguments.get("n"))
        steered = _flag("steer_strings", arguments.get("steer_strings"))
        return cls(
            tool_use=to_tool_use(
                arguments.get("tools") or (),
                arguments.get("tool_choice"),
                _flag("parallel_tool_calls", arguments.get("parallel_tool_calls")),
            ),
            json_output=to_json_output(
                arguments.get("response_format"),
                steer_strings=steer_strings if steered is None else steered,
            ),
            logprobs=_logprobs(arguments.get("logprobs"), arguments.get("top_logprobs")),
        )


def plain_form(
    arguments: Mapping[str, Any], to_openai_tools: Callable[[Any], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Arguments with their tools, choice and format as plain JSON, for tracers and cache keys.

    Args:
        arguments: Those of a call.
        to_openai_tools: Writes the framework's tools in OpenAI's form.

    Raises:
        PromptError: One of them cannot be used.
    """
    plain = dict(arguments)
    if (tools := plain.get("tools")) is not None:
        plain["tools"] = to_openai_tools(tools)
    if (choice := plain.get("tool_choice")) is not None:
        if not plain.get("tools"):
            to_tool_use((), choice)  # a choice among none is refused in the caller's words
        if wants_one_call(choice):
            plain.setdefault("parallel_tool_calls", False)
        plain["tool_choice"] = to_openai_choice(choice)
    if (wanted := plain.get("response_format")) is not None:
        plain["response_format"] = to_response_format(wanted)
    return plain


def _flag(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise InvalidParamsError(f"{name}={value!r} is neither True nor False.")


def _check_n(n: Any) -> None:
    if n is not None and (type(n) is not int or n != 1):
        raise InvalidParamsError(
            f"n={n!r}: a call gives one answer. For several, ask several times at once (in a "
            "batch, or with asyncio.gather) and a temperature above 0; they are decoded together."
        )


def _logprobs(wanted: Any, top: Any) -> int | None:
    if not isinstance(wanted, bool | None):
        raise InvalidParamsError(
            f"logprobs={wanted!r} is neither True nor False; top_logprobs= says how many."
        )
    if top is None:
        return 0 if wanted else None
    if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= _MOST_LOGPROBS:
        raise InvalidParamsError(f"top_logprobs={top!r}: give a number from 0 to {_MOST_LOGPROBS}.")
    if top and not wanted:
        raise InvalidParamsError(f"top_logprobs={top} needs logprobs=True.")
    return top if wanted else None
