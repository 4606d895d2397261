"""What an LLM of LlamaIndex and an Amulet client are together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import PrivateAttr

from amulet_integrations.client import AmuletClient
from amulet_integrations.personalization.call_options import without_unset
from amulet_integrations.profiles.scope import NAMES
from amulet_integrations.prompting.prompt_tokenizer import plain_token_ids

from .instrumentation import PrivateSpans


class ClientLLM(PrivateSpans, AmuletClient, CustomLLM, FunctionCallingLLM):
    """A client that LlamaIndex can call, and whose copies may have arguments bound to them."""

    _bound: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def tokenizer(self) -> Callable[[str], list[int]]:
        """Converts a text to token ids with the model's own tokenizer; loads the model.

        For ``Settings.tokenizer``, `TokenCountingHandler` and memories.
        """
        return partial(plain_token_ids, self.load_engine().tokenizer)

    @property
    def names_somebody(self) -> bool:
        """Whether the arguments that are bound name a preference, a profile or a user."""
        return any(self._bound.get(name) is not None for name in NAMES)

    def bind_arguments(self, arguments: Mapping[str, Any]) -> Self:
        """Returns a copy whose calls have these arguments, unless they set them themselves.

        LlamaIndex's own methods, between a caller and the model, then need not pass them on, and
        their spans do not show them.
        """
        twin = self.model_copy()
        twin._bound = {**self._bound, **without_unset(arguments)}  # noqa: SLF001 - the copy's own
        return twin
