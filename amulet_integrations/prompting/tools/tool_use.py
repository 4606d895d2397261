"""The tools that a model may call, and the JSON that its answer has to be."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from amulet_integrations.errors import AmuletError, PromptError, StructuredOutputError
from amulet_integrations.validation import FrozenModel

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Tool(FrozenModel):
    """A function that the model may call.

    Attributes:
        name: The name, 1 to 64 ASCII letters, digits, `_`, `-` and `.`.
        description: What the function does and when to call it.
        parameters: The JSON schema of its arguments, an object.

    Raises:
        PromptError: The name has other characters, or `parameters` is no schema of an object.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    name: str
    description: str = ""
    parameters: dict[str, Any] = NO_PARAMETERS

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name):
            raise PromptError(
                f"{name[:80]!r} is no name of a tool; give 1 to 64 characters: ASCII letters, "
                "digits, '_', '-' and '.'."
            )
        return name

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters.get("type", "object") != "object":
            raise PromptError(
                f"parameters={json.dumps(parameters)[:80]}: the arguments of a tool are a JSON "
                'object; give a schema of "type": "object".'
            )
        return {**NO_PARAMETERS, **parameters}


class ToolCall(FrozenModel):
    """A call that the model made in an earlier turn.

    Attributes:
        name: The tool.
        arguments: The arguments, a JSON object.
        id: The id by which the result refers to the call.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    name: str
    arguments: dict[str, Any] = Field(default={}, repr=False)
    id: str | None = None


class ToolUse(FrozenModel):
    """Which tools an answer may call, and whether it has to.

    Attributes:
        tools: The tools, in the order in which they stand in the prompt.
        choice: "auto" lets the model choose between text and calls, "required" makes it call a
            tool, "none" prevents calls.
        tool_name: The one tool that has to be called; None if the model may choose.
        parallel: Whether one answer may contain several calls. None allows several if the model
            may choose to call, and one if it has to call.

    Raises:
        PromptError: There are no tools, two have one name, or none has the name `tool_name`.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    tools: tuple[Tool, ...] = Field(min_length=1)
    choice: Literal["auto", "required", "none"] = "auto"
    tool_name: str | None = None
    parallel: bool | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = Counter(tool.name for tool in self.tools)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise PromptError(
                f"Two tools have the name {twice[0]!r}, so a call could not tell which is meant. "
                "Give each tool a name of its own."
            )
        if self.tool_name is not None and self.tool_name not in names:
            raise PromptError(
                f"The tool {self.tool_name!r} is to be called, but the tools are: "
                f"{', '.join(names)}."
            )
        return self

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call: all, none, or the one that it has to call."""
        if self.tool_name is not None:
            return tuple(tool for tool in self.tools if tool.name == self.tool_name)
        return () if self.choice == "none" else self.tools

    @property
    def may_repeat(self) -> bool:
        """Whether the answer may contain several calls."""
        return not self.is_forced if self.parallel is None else self.parallel

    @property
    def is_forced(self) -> bool:
        """Whether the answer has to be a call."""
        return self.choice == "required" or self.tool_name is not None


class JsonOutput(FrozenModel):
    """The JSON that an answer has to be.

    Attributes:
        json_schema: The JSON schema of the answer; ``{"type": "object"}`` for any object.
        in_prompt: Whether the schema stands in the prompt, at the end of the system text.
        steer_strings: Whether the user's preferences steer the text of string values as they steer
            prose. Everything else is decoded with the preferences in the prompt only.
        check: Whether an answer that does not follow its schema is an error. There may be one only
            where a grammar cannot enforce all of the schema.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    json_schema: dict[str, Any]
    in_prompt: bool = True
    steer_strings: bool = False
    check: bool = True

    def check_answer(self, text: str) -> None:
        """Compares a whole answer with what a grammar cannot enforce of the schema.

        Raises:
            StructuredOutputError: The answer does not follow it.
        """
        # Imported here, so that prompts without tools load no grammars.
        from amulet_integrations.prompting.json_schema.finished_values import (  # noqa: PLC0415
            fault_in_text,
        )

        if fault := fault_in_text(self.json_schema, text):
            raise StructuredOutputError(
                f"The answer does not follow its schema, of which a grammar cannot enforce all. "
                f"{fault} Ask again (with a temperature above 0 or in other words), or use a "
                "schema that can be enforced."
            )
