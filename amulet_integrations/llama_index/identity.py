"""Who the model is, to prompt helpers, callbacks, serialised forms and agents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from secrets import token_bytes
from typing import Any, Self
from uuid import uuid4

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import default_completion_to_prompt
from pydantic import Field, PrivateAttr, computed_field, model_validator

from amulet_integrations.client import AmuletClient, without_unset
from amulet_integrations.errors import AmuletError
from amulet_integrations.llama_index.packing import ModelPromptHelper
from amulet_integrations.personalization.saved_presets import presets_stamp
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.prompting import ChatMessage

_ROOM_FOR_PREFERENCES = 128
_SALT = token_bytes(32)


class IdentifiedLLM(AmuletClient, CustomLLM, FunctionCallingLLM):
    """How the model presents itself, and how its tokens are counted."""

    # A user without the store to look him up in is of no use, and no store is written out.
    user_id: str | None = Field(default=None, exclude=True)

    _bound: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised forms and traces."""
        return "AmuletLLM"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # LlamaIndex leaves out what cannot be pickled, such as a store in memory.
        told = state["__dict__"]
        absent = {
            name: field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if name not in told
        }
        super().__setstate__({**state, "__dict__": {**absent, **told}})

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks before it asks the model; does not load it.

        A model whose `messages_to_prompt` was given cannot be told of tools, so it says that it
        calls none.
        """
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            is_function_calling_model=not self._writes_whole_prompts,
            model_name=self.model,
            system_role=MessageRole.SYSTEM,
        )

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def speaks_for(self) -> str | None:
        """Tells models apart, in serialised forms, that answer differently for their users.

        LlamaIndex keeps what transformations gave under keys made of those forms, so one user
        would be served what was written for another. None where nobody is named; else a digest
        that holds in this process and gives nothing away. Reads the store; does not load the
        model.
        """
        try:
            whose = self.resolve_user(PreferenceSelection())
            if not whose.is_set:
                return None
            spoken = self.personalizer.personalize(whose, saved=False).fingerprint
            if self.saved_presets:
                spoken += presets_stamp()
        except AmuletError:
            spoken = uuid4().hex  # asking will fail; until then it is nobody else
        return hashlib.blake2b(spoken.encode(), key=_SALT).hexdigest()

    @model_validator(mode="before")
    @classmethod
    def _forget_whose(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if name != "speaks_for"}

    @property
    def tokenizer(self) -> Callable[[str], list[int]]:
        """Token ids of a text, by the model's own tokenizer; loads the model.

        For ``Settings.tokenizer``, `TokenCountingHandler` and memories.
        """
        return partial(self.load_engine().tokenizer.encode, add_special_tokens=False)

    def prompt_helper(
        self, preference_tokens: int = _ROOM_FOR_PREFERENCES, **options: Any
    ) -> PromptHelper:
        """What packs documents into prompts that fit this model: ``Settings.prompt_helper``.

        LlamaIndex's default counts with another model's tokenizer, and knows neither of the chat
        template around a prompt nor of the preferences in it. Loads the model.

        Args:
            preference_tokens: Room left for a user's preferences, in tokens.
            **options: Others of `PromptHelper`, such as `chunk_overlap_ratio`.
        """
        a_word = [ChatMessage(role="user", content="a")]
        around = self.personalizer.prompts.count_tokens(a_word) - 1
        around += len(self.tokenizer(self.separator))
        return ModelPromptHelper(
            context_window=self.context_window - around - preference_tokens,
            num_output=self.max_tokens,
            tokenizer=self.tokenizer,
            **options,
        )

    def to_payload(self) -> dict[str, Any]:
        """What events and callbacks are told of the model; no text of a preference."""
        settings = {"model": self.model, "temperature": self.temperature, "method": self.method}
        return {**super().to_payload(), **settings, "max_tokens": self.max_tokens}

    @property
    def _writes_whole_prompts(self) -> bool:
        return self.messages_to_prompt not in (None, messages_to_prompt)

    @property
    def _writes_whole_completions(self) -> bool:
        return self.completion_to_prompt not in (None, default_completion_to_prompt)

    def _binding(self, **arguments: Any) -> Self:
        """A copy whose calls have these arguments where they have no others of these names.

        So LlamaIndex's own methods can be used between a caller and the model: they are shown
        no preferences, and pass on what they do not know.
        """
        copy = self.model_copy()
        given = without_unset(arguments)
        copy._bound = {**self._bound, **given}  # noqa: SLF001 - the copy is this class's own
        return copy
