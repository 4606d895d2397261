"""Objects in the bodies of requests: nothing in them is read loosely, or dropped in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from amulet_integrations.suggestions import suggest

UNKNOWN, UNSUPPORTED = "unknown_parameter", "unsupported_parameter"
"""The codes of errors about a parameter, which are also the types of pydantic's errors."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Makes a field take integers as JSON Schema has them: 8.0 is one, 8.5 and true are none."""

NOTHING: Mapping[str, tuple[Any, ...]] = MappingProxyType({})


def _describe_allowed(schema: dict[str, Any], model: type[RequestModel]) -> None:
    """Lists in a model's JSON schema the values that its parameters without effect may have."""
    listed = {name: it for name, it in model.accepted.items() if it} | dict(model.neutral)
    for name, allowed in listed.items():
        schema["properties"][name] = {"enum": [*allowed, None]}


class RequestModel(BaseModel):
    """An object in the body of a request.

    It refuses unknown names, values of other types, and what OpenAI's API has and this server has
    not. Null stands for a parameter that is left out. Lists in it end at their first fault
    (`fail_fast`): to list a hundred thousand faults would keep all other requests waiting.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        protected_namespaces=(),
        populate_by_name=True,
        json_schema_extra=_describe_allowed,
    )
    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = NOTHING
    """Parameters that have no effect here, each with the values that may be sent; any, if empty."""
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = NOTHING
    """Parameters that would change the answer, each with the values that would not."""
    hints: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What to write in place of a parameter that is refused."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls.parameter_names()
        for name, value in data.items():
            if value is None:  # as if it were left out
                continue
            if name not in known:
                raise fault(UNKNOWN, f"Unknown parameter.{cls._hint(name)}", name)
            allowed = cls.neutral.get(name, cls.accepted.get(name) or None)
            if allowed is not None and not _is_one_of(value, allowed):
                raise fault(UNSUPPORTED, _unsupported(allowed, cls.hints.get(name, "")), name)
        return {name: value for name, value in data.items() if value is not None or name in known}

    @property
    def without_effect(self) -> list[str]:
        """The parameters that the client has sent and that have no effect here."""
        return [it for it in sorted(self.accepted) if getattr(self, it, None) is not None]

    @classmethod
    def parameter_names(cls) -> set[str]:
        """The names that such an object may have."""
        return {field.alias or name for name, field in cls.model_fields.items()}

    @classmethod
    def _hint(cls, name: str) -> str:
        if name in cls.hints:
            return f" {cls.hints[name]}"
        suggested = suggest([name], cls.parameter_names()).get(name)
        if suggested:
            return f" Did you mean {suggested}?"
        return (
            f" Leave it out. The parameters here are: {', '.join(sorted(cls.parameter_names()))}."
        )


def fault(code: str, message: str, name: str | None = None) -> PydanticCustomError:
    """What a validator raises about one parameter.

    Args:
        code: OpenAI's `code`.
        message: What is wrong.
        name: The parameter, in the object that is validated; None for the object itself.
    """
    return PydanticCustomError(code, "{message}", {"message": message, "name": name})


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    return any(value == it and isinstance(value, bool) == isinstance(it, bool) for it in allowed)


def _unsupported(allowed: tuple[Any, ...], hint: str) -> str:
    others = ", ".join(json.dumps(it) for it in allowed)
    remedy = f"Leave it out, or send {others}." if others else "Leave it out."
    return f"This server does not support the parameter. {remedy} {hint}".rstrip()
