"""Filling prompts in and asking: what query engines, selectors and question generators call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar

from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import TokenAsyncGen

from amulet_integrations.call_time import coroutine_as_called
from amulet_integrations.llama_index.entries import AnsweringLLM
from amulet_integrations.llama_index.output_parsers import json_read_by
from amulet_integrations.llama_index.spans import opens_own_span

T = TypeVar("T")


class PredictingLLM(AnsweringLLM):
    """LlamaIndex's own methods, with answers that a prompt's output parser is able to read.

    The sync `stream` needs nothing of ours: it asks when it is called, and takes no parsers.
    """

    @opens_own_span
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As LlamaIndex's own; JSON where the prompt's or the model's output parser reads it."""
        return super(PredictingLLM, self._readable(prompt, prompt_args)).predict(
            prompt, **prompt_args
        )

    @opens_own_span
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coroutine[Any, Any, str]:
        """As `predict`, for asyncio."""
        llm = self._readable(prompt, prompt_args)
        predicted = super(PredictingLLM, llm).apredict(prompt, **prompt_args)
        return coroutine_as_called(self._loaded(predicted))

    @opens_own_span
    def astream(
        self, prompt: BasePromptTemplate, **prompt_args: Any
    ) -> Coroutine[Any, Any, TokenAsyncGen]:
        """As LlamaIndex's own."""
        return coroutine_as_called(self._loaded(super().astream(prompt, **prompt_args)))

    def _readable(self, prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> Self:
        """This model, or a copy whose answers are JSON that the output parser reads."""
        given = {**prompt.kwargs, **prompt_args}
        wanted = json_read_by(self.output_parser or prompt.output_parser, given)
        return self if wanted is None else self._binding(response_format=wanted)

    async def _loaded(self, work: Coroutine[Any, Any, T]) -> T:
        # What the base class does first, it does on the event loop.
        await asyncio.to_thread(self.load_engine)
        return await work
