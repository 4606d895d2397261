"""What a call asks of its answer's form: tools, JSON, log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.errors import InvalidParamsError, errors_at
from amulet_integrations.prompting.json_schema.finished_values import is_compared
from amulet_integrations.prompting.json_schema.size import check_sizes_of_call
from amulet_integrations.prompting.tools.tool_use import JsonOutput, ToolUse

from .openai_tools import check_of_tool, to_openai_choice, to_tool_use, wants_one_call
from .response_format import to_json_output, to_response_format
from .schema_check import SchemaCheck, run_quick

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
"""The call arguments that this module reads."""

_MOST_LOGPROBS = 20


@dataclass(frozen=True)
class OutputOptions:
    """The form that an answer has to have.

    Attributes:
        tool_use: The tools that it may or must call.
        json_output: The JSON that it has to be, unless it is a call.
        logprobs: How many of the likeliest tokens are reported for each step; None for no
            log-probabilities at all.
        unchecked: What is still to be found out about the schemas; see `check_schemas`.
    """

    tool_use: ToolUse | None = None
    json_output: JsonOutput | None = None
    logprobs: int | None = None
    unchecked: tuple[SchemaCheck, ...] = ()

    @classmethod
    def read(cls, arguments: Mapping[str, Any], *, steer_strings: bool = False) -> OutputOptions:
        """Reads the arguments of a call, from `plain_arguments`.

        Schemas that are not small are left to `check_schemas`, for they take time.

        Args:
            arguments: The arguments; those that are not in `OUTPUT_OPTIONS` are ignored.
            steer_strings: The value if the call has none.

        Raises:
            PromptError: The tools, their choice or the response format cannot be followed.
            InvalidParamsError: `logprobs`, `top_logprobs` or `n` is out of its range.
            UnsupportedGrammarError: A schema cannot be enforced, or is too large.
        """
        _check_n(arguments.get("n"))
        check_sizes_of_call(arguments.get("tools"), arguments.get("response_format"))
        steered = _flag("steer_strings", arguments.get("steer_strings"))
        tools = arguments.get("tools") or ()
        tool_use = to_tool_use(
            tools,
            arguments.get("tool_choice"),
            _flag("parallel_tool_calls", arguments.get("parallel_tool_calls")),
        )
        with errors_at("response_format"):
            json_output = to_json_output(
                arguments.get("response_format"),
                steer_strings=steer_strings if steered is None else steered,
            )
        output, checks = None, [check_of_tool(tool) for tool in tools]
        if json_output is not None:
            output, check = json_output
            checks.append(check)
        return cls(
            tool_use=tool_use,
            json_output=output,
            logprobs=_logprobs(arguments.get("logprobs"), arguments.get("top_logprobs")),
            unchecked=run_quick(checks),
        )

    @property
    def compares_values(self) -> bool:
        """Whether finished values are compared with what grammars do not enforce of a schema."""
        tools = self.tool_use.tools if self.tool_use is not None else ()
        answer = self.json_output
        return any(is_compared(tool.parameters, of_arguments=True) for tool in tools) or (
            answer is not None and answer.check and is_compared(answer.json_schema)
        )

    def check_schemas(self, deadline: Deadline, user_id: str | None = None) -> None:
        """Finds out what `read` has left open; not for an event loop.

        Args:
            deadline: Until when it may take.
            user_id: The user whose call it is; None for nobody in particular.

        Raises:
            UnsupportedGrammarError: A schema cannot be enforced.
            RequestTimeoutError: The deadline has passed.
        """
        for check in self.unchecked:
            check.run(deadline, user_id)


def plain_arguments(
    arguments: Mapping[str, Any], to_openai_tools: Callable[[Any], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Converts tools, tool choice and response format to plain JSON, for tracers and cache keys.

    Args:
        arguments: The arguments of a call.
        to_openai_tools: Converts the framework's tools to OpenAI's form.

    Returns:
        The arguments with these three converted.

    Raises:
        PromptError: One of them cannot be used.
    """
    plain = dict(arguments)
    if (tools := plain.get("tools")) is not None:
        plain["tools"] = to_openai_tools(tools)
    if (choice := plain.get("tool_choice")) is not None:
        if not plain.get("tools"):
            to_tool_use((), choice)  # refuses a choice among no tools, as the caller wrote it
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
        raise InvalidParamsError(f"top_logprobs={top} needs logprobs=True.", param="top_logprobs")
    return top if wanted else None
