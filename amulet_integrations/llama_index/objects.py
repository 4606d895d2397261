"""Answers read as instances of a Pydantic model."""

from __future__ import annotations

from typing import Any, Generic

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.types import Model
from pydantic import ValidationError

from amulet_integrations.errors import StructuredOutputError
from amulet_integrations.llama_index.partial_json import parse_growing


class ObjectReader(Generic[Model]):
    """Reads one answer.

    Args:
        output_cls: The model whose instances answers are.
    """

    def __init__(self, output_cls: type[Model]) -> None:
        self._output_cls = output_cls
        self._partial = create_flexible_model(output_cls)
        self._found: dict[str, Any] = {}

    def whole(self, response: ChatResponse) -> Model:
        """The object that an answer is.

        Raises:
            StructuredOutputError: The model's own validators refuse it.
        """
        text = response.message.content or ""
        try:
            return self._output_cls.model_validate_json(text)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'all of it'}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise StructuredOutputError(
                f"The answer follows the schema of {self._output_cls.__name__}, but its validators "
                f"refuse it ({faults}). Say in the schema what they ask for, or ask again."
            ) from error

    def growing(self, response: ChatResponse) -> Model | FlexibleModel | None:
        """The object so far; None where nothing new is known of it.

        Fields that have not come yet are None; what does not validate yet is a `FlexibleModel`.
        """
        if response.raw is not None:
            return self.whole(response)
        found = parse_growing(response.message.content or "", self._found)
        if found == self._found:
            return None
        self._found = found
        try:
            return self._output_cls.model_validate(found)
        except ValidationError:
            return self._partial.model_validate(found)
