"""The tools that a model may call, and what its answer is to be made of."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from amulet_integrations.errors import AmuletError, PromptError
from amulet_integrations.validation import FrozenModel

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Tool(FrozenModel):
    """A function that the model may ask to be called.

    Attributes:
        name: Its name: up to 64 letters, digits, `_`, `-` and `.`.
        description: What it does and when to call it.
        parameters: JSON schema of its arguments, an object.

    Raises:
        PromptError: A name of other characters, or parameters that are no schema of an object.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    name: str
    description: str = ""
    parameters: dict[str, Any] = NO_PARAMETERS

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name):
            raise PromptError(
                f"{name[:80]!r} is no name of a tool; give 1 to 64 characters: ASCII letters, "
                "digits, '_', '-' and '.'."
            )
        return name

    @field_validator("parameters")
    @classmethod
    def _is_object(cls, parameters: dict[str, Any]) -> dict[str, Any]:
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
        arguments: Its arguments.
        id: What the result refers to.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    name: str
    arguments: dict[str, Any] = Field(default={}, repr=False)
    id: str | None = None


class ToolUse(FrozenModel):
    """Which tools an answer may call, and whether it has to.

    Attributes:
        tools: The tools, in the order in which the model is told of them.
        choice: "auto" lets the model choose between text and calls, "required" makes it call,
            "none" keeps it from calling.
        tool_name: The one tool that has to be called.
        parallel: Whether one answer may hold several calls; None allows of several where the model
            calls of its own accord, and of one where it has to.

    Raises:
        PromptError: No tools, two of one name, or a `tool_name` that names none of them.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    tools: tuple[Tool, ...] = Field(min_length=1)
    choice: Literal["auto", "required", "none"] = "auto"
    tool_name: str | None = None
    parallel: bool | None = None

    @model_validator(mode="after")
    def _names_are_clear(self) -> Self:
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
        """The tools that the answer may call: all, none, or the one that it has to."""
        if self.tool_name is not None:
            return tuple(tool for tool in self.tools if tool.name == self.tool_name)
        return () if self.choice == "none" else self.tools

    @property
    def may_repeat(self) -> bool:
        """Whether another call may follow the first."""
        return not self.is_forced if self.parallel is None else self.parallel

    @property
    def is_forced(self) -> bool:
        """Whether the answer has to be a call."""
        return self.choice == "required" or self.tool_name is not None


class JsonOutput(FrozenModel):
    """The JSON that an answer has to be.

    Attributes:
        json_schema: Its JSON schema; ``{"type": "object"}`` for any object.
        in_prompt: Whether the model is told the schema, at the end of the system text.
        steer_strings: Whether the user's preferences steer the text inside string values as they
            steer prose. Everything else is decoded with the preferences in the prompt only.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    json_schema: dict[str, Any]
    in_prompt: bool = True
    steer_strings: bool = False
