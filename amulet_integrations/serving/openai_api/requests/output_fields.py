"""What a chat's answer may be: calls of tools, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from .request_model import UNSUPPORTED, RequestModel, fault


class FunctionDefinition(RequestModel):
    """A function that the model may call.

    Attributes:
        name: 1 to 64 ASCII letters, digits, `_`, `-` and `.`.
        description: What it does, and when to call it.
        parameters: The JSON schema of its arguments.
        strict: Whether all of the schema has to be enforced.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    """A tool; only functions are supported."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"cache_control": ()}

    type: Literal["function"]
    function: FunctionDefinition
    cache_control: Any = None

    @model_validator(mode="before")
    @classmethod
    def _is_function(cls, data: Any) -> Any:
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind != "function":
            raise fault(
                UNSUPPORTED,
                f"Tools of type {kind!r:.80} are not supported. Describe the tool as a function.",
                "type",
            )
        return data

    def to_function(self) -> dict[str, Any]:
        """The function as plain JSON, without what was left out."""
        return self.function.model_dump(exclude_none=True)


class NamedFunction(RequestModel):
    """The name of a function."""

    name: str


class NamedChoice(RequestModel):
    """The one tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(RequestModel):
    """A JSON schema with its name."""

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"description": ()}

    name: str
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(RequestModel):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema
