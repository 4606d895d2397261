"""How models write tool calls: the markers, how a parser finds them, and the grammars.

The grammars are written for llguidance: grammars of calls, of text without calls, and of JSON.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import regex

from amulet_integrations.prompting.json_schema.lark import MarkerTokens, containing, quoted
from amulet_integrations.prompting.json_schema.schema_to_grammar import (
    arguments_schema,
    constrained_schema,
    json_rule,
)

from .probe import CallStyle
from .tool_use import Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ToolFormat(ABC):
    """The way in which one family of models writes calls.

    Args:
        tokenizer: The model's transformers tokenizer.

    Attributes:
        opening: The marker before calls; "" if calls stand only at the start of the answer.
        closing: The marker after a call; "" if there is none.
        calls_after_text: Whether calls may come after text.
        foreign: Markers that only others write, such as those of results; text has none of them.
        head: Matches a call from its opening marker up to its arguments. The group "name" is the
            tool's name; without it, the match is a broken call, up to its closing marker.
        tail: Matches what follows the arguments of a call: its end, or, after a comma, the head
            of the next call.
    """

    head: ClassVar[regex.Pattern[str]]
    tail: ClassVar[regex.Pattern[str]]
    opening: ClassVar[str]
    closing: ClassVar[str] = ""
    calls_after_text: ClassVar[bool] = True
    foreign: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokens = MarkerTokens(tokenizer)

    @property
    def skip_special_tokens(self) -> bool:
        """Whether decoding may leave out special tokens without losing the markers of calls."""
        return not any(map(self._tokens.is_special, self._markers))

    def calls_grammar(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """The llguidance grammar of one or more calls.

        Args:
            tools: The tools that may be called. The arguments of a call follow its tool's schema.
            parallel: Whether there may be several calls, if the format supports it.

        Returns:
            Lark text.

        Raises:
            UnsupportedGrammarError: A tool's schema cannot be enforced.
        """
        return f"start: calls\n{self._calls_rules(tools, parallel=parallel)}"

    def text_grammar(self) -> str:
        """The llguidance grammar of any text that contains no beginning of a call."""
        return f"start: text\n{self._text_rules}"

    def text_and_calls_grammar(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """The llguidance grammar of text, of calls, and of text before calls (`calls_after_text`).

        Args:
            tools: The tools that may be called.
            parallel: Whether there may be several calls.

        Returns:
            Lark text.

        Raises:
            UnsupportedGrammarError: A tool's schema cannot be enforced.
        """
        rules = self._calls_rules(tools, parallel=parallel) + self._text_rules
        if not self.calls_after_text:
            return f"start: (text | calls)\n{rules}"
        if self._tokens.is_token(self.opening):
            return f"start: text calls?\n{rules}"
        rules += f"opened[lazy]: TEXT {quoted(self.opening)}\n"
        return f"start: (text | lead opened rest)\n{rules}"

    def json_grammar(self, schema: Mapping[str, Any]) -> str:
        """The llguidance grammar of a JSON text.

        Args:
            schema: Its JSON schema, as the caller gave it.

        Returns:
            Lark text.

        Raises:
            UnsupportedGrammarError: The schema cannot be enforced.
        """
        return f"start: {json_rule(constrained_schema(schema))}\n"

    @property
    def _markers(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.opening, self.closing)))

    @property
    def _text_rules(self) -> str:
        never = containing(self.opening, *self.foreign)
        return self._tokens.text_rules((*self._markers, *self.foreign), never=never)

    def _calls_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        opening = self._tokens.lark(self.opening)
        return f"calls: {opening} rest\n{self._rest_rules(tools, opening, parallel=parallel)}"

    @abstractmethod
    def _rest_rules(self, tools: Sequence[Tool], opening: str, *, parallel: bool) -> str:
        """The rule `rest`, of what follows the first `opening`, and all rules that it uses."""


_NAME = r"(?P<name>[a-zA-Z0-9_.-]{1,64})"


def _object_head(key: str) -> str:
    """A pattern of the beginning of a call that is a JSON object; `key` names the arguments."""
    return rf'\s*\{{\s*"name"\s*:\s*"{_NAME}"\s*,\s*"{key}"\s*:\s*(?=\{{)'


class HermesFormat(ToolFormat):
    """Hermes and Qwen: a JSON object between tags for each call, anywhere in the answer."""

    head: ClassVar[regex.Pattern[str]] = regex.compile(
        rf"<tool_call>(?:{_object_head('arguments')}|(?:(?!<tool_call>)(?s:.))*?</tool_call>)"
    )
    tail: ClassVar[regex.Pattern[str]] = regex.compile(r"\s*\}\s*</tool_call>")
    opening = "<tool_call>"
    closing = "</tool_call>"
    foreign = ("<tool_response>",)

    def _rest_rules(self, tools: Sequence[Tool], opening: str, *, parallel: bool) -> str:
        more = f' ("\\n" {opening} body)*' if parallel else ""
        closing = self._tokens.lark(self.closing)
        return (
            f'rest: body{more}\nbody: "\\n" call "\\n" {closing}\n{_call_rule(tools, "arguments")}'
        )


class MistralFormat(ToolFormat):
    """Mistral: a marker and a JSON list of calls, at the end of the answer."""

    head: ClassVar[regex.Pattern[str]] = regex.compile(
        rf"\[TOOL_CALLS\]\s*\[{_object_head('arguments')}"
    )
    tail: ClassVar[regex.Pattern[str]] = regex.compile(
        rf"\s*\}}\s*(?:\]|,{_object_head('arguments')})"
    )
    opening = "[TOOL_CALLS]"

    def _rest_rules(self, tools: Sequence[Tool], opening: str, *, parallel: bool) -> str:  # noqa: ARG002
        more = ' (", " call)*' if parallel else ""
        return f'rest: " "? "[" call{more} "]"\n{_call_rule(tools, "arguments")}'


class MistralArgsFormat(ToolFormat):
    """Later Mistral models: a marker, the tool's name, another marker, and the arguments."""

    head: ClassVar[regex.Pattern[str]] = regex.compile(
        rf"\[TOOL_CALLS\]\s*{_NAME}\[ARGS\]\s*(?=\{{)"
    )
    tail: ClassVar[regex.Pattern[str]] = regex.compile("")
    opening = "[TOOL_CALLS]"
    separator: ClassVar[str] = "[ARGS]"

    @property
    def _markers(self) -> tuple[str, ...]:
        return self.opening, self.separator

    def _rest_rules(self, tools: Sequence[Tool], opening: str, *, parallel: bool) -> str:
        more = f" ({opening} call)*" if parallel else ""
        separator = self._tokens.lark(self.separator)
        calls = [f"{quoted(tool.name)} {separator} {_arguments(tool)}" for tool in tools]
        return f"rest: call{more}\ncall: {_either(calls)}\n"


class LlamaFormat(ToolFormat):
    """Llama 3: the answer is one JSON object; an answer that begins otherwise is text."""

    head: ClassVar[regex.Pattern[str]] = regex.compile(
        rf"(?:<\|python_tag\|>)?{_object_head('parameters')}"
    )
    tail: ClassVar[regex.Pattern[str]] = regex.compile(r"\s*\}")
    opening = ""
    calls_after_text = False
    python_tag: ClassVar[str] = "<|python_tag|>"

    # A text does not begin like a call: with a JSON object of these keys, fenced or not.
    _call_like: ClassVar[str] = (
        r"[ \t\r\n]*(```[a-z]*[ \t\r\n]*)?(\[[ \t\r\n]*)?\{[ \t\r\n]*"
        r'"(name|parameters|arguments|type|function|id)"(.|\n)*'
    )

    @property
    def _text_rules(self) -> str:
        never = f"({self._call_like}|{containing(self.python_tag)})"
        return self._tokens.text_rules((self.python_tag,), never=never)

    def _calls_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        tag = self._tokens.lark(self.python_tag)
        return f"calls: {tag}? rest\n{self._rest_rules(tools, tag, parallel=parallel)}"

    def _rest_rules(self, tools: Sequence[Tool], opening: str, *, parallel: bool) -> str:  # noqa: ARG002
        return f"rest: call\n{_call_rule(tools, 'parameters')}"


def _call_rule(tools: Sequence[Tool], key: str) -> str:
    """The rule `call`: the JSON object of a call, with the arguments of the tool that it names."""
    calls = [
        f'{quoted(f"""{{"name": "{tool.name}", "{key}": """)} {_arguments(tool)} "}}"'
        for tool in tools
    ]
    return f"call: {_either(calls)}\n"


def _arguments(tool: Tool) -> str:
    # Each schema is a separate document in the grammar, so $defs and $ref stay as they are.
    return json_rule(arguments_schema(tool.parameters))


def _either(alternatives: Sequence[str]) -> str:
    return "\n    | ".join(alternatives)


TOOL_FORMATS: Mapping[CallStyle, type[ToolFormat]] = {
    "hermes": HermesFormat,
    "llama": LlamaFormat,
    "mistral": MistralFormat,
    "mistral-args": MistralArgsFormat,
}
"""The format of each style of calls."""
