"""Filling prompts in and asking: what query engines, selectors and question generators call."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Self, TypeVar

from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import TokenAsyncGen, TokenGen

from amulet_integrations.bind_context import bind_coroutine
from amulet_integrations.client import SELECTION_ARGUMENTS
from amulet_integrations.errors import AmuletError, AnswerError, PromptError
from amulet_integrations.llama_index.entries import AnsweringLLM
from amulet_integrations.llama_index.output_parsers import json_read_by
from amulet_integrations.llama_index.spans import opens_own_span

T = TypeVar("T")


class PredictingLLM(AnsweringLLM):
    """LlamaIndex's own methods, with answers that a prompt's output parser is able to read.

    They take `preference`, `profile`, `user_id`, `preference_context`, `params` and `method` as
    well, where the prompt has no variables of these names.
    """

    @opens_own_span
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As LlamaIndex's own; JSON where the prompt's or the model's output parser reads it.

        Raises:
            AnswerError: The prompt cannot be answered; the cause is the error proper.
        """
        with not_taken_for_an_answer():
            llm, filled = self._readable(prompt, prompt_args)
            return super(PredictingLLM, llm).predict(prompt, **filled)

    @opens_own_span
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coroutine[Any, Any, str]:
        """As `predict`, for asyncio."""
        with not_taken_for_an_answer():
            llm, filled = self._readable(prompt, prompt_args)
        predicted = super(PredictingLLM, llm).apredict(prompt, **filled)
        return bind_coroutine(told_apart(self._loaded(predicted)))

    @opens_own_span
    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """As LlamaIndex's own, which reads no output parsers."""
        llm, filled = self.named_by(prompt_args, variables_of(prompt))
        return super(PredictingLLM, llm).stream(prompt, **filled)

    @opens_own_span
    def astream(
        self, prompt: BasePromptTemplate, **prompt_args: Any
    ) -> Coroutine[Any, Any, TokenAsyncGen]:
        """As `stream`, for asyncio."""
        llm, filled = self.named_by(prompt_args, variables_of(prompt))
        streamed = super(PredictingLLM, llm).astream(prompt, **filled)
        return bind_coroutine(self._loaded(streamed))

    def _readable(
        self, prompt: BasePromptTemplate, prompt_args: dict[str, Any]
    ) -> tuple[Self, dict[str, Any]]:
        """A model whose answers the output parser reads, and what the prompt is filled in with."""
        llm, filled = self.named_by(prompt_args, variables_of(prompt))
        parser = self.output_parser or prompt.output_parser
        wanted = json_read_by(parser, {**prompt.kwargs, **filled})
        if wanted is None or self._writes_whole_prompts:
            return llm, filled
        return llm._binding(response_format=wanted), filled  # noqa: SLF001 - of this class

    def named_by(
        self, arguments: Mapping[str, Any], variables: Collection[str] = ()
    ) -> tuple[Self, dict[str, Any]]:
        """A copy that follows the arguments on preferences, and the others.

        Args:
            arguments: What a method was called with.
            variables: Names that mean something else to it.
        """
        names = (set(SELECTION_ARGUMENTS) & arguments.keys()) - set(variables)
        others = {name: value for name, value in arguments.items() if name not in names}
        return self._binding(**{name: arguments[name] for name in names}), others

    async def _loaded(self, work: Coroutine[Any, Any, T]) -> T:
        # What the base class does first, it does on the event loop.
        with closing(work):
            await asyncio.to_thread(self.load_engine)
            return await work


@contextmanager
def not_taken_for_an_answer() -> Iterator[None]:
    """Raises errors of ours as such that query engines do not take for answers that do not fit."""
    try:
        yield
    except AmuletError as error:
        if isinstance(error, ValueError | TypeError):
            raise AnswerError(str(error)) from error
        raise


async def told_apart(work: Coroutine[Any, Any, T]) -> T:
    """`not_taken_for_an_answer` around a coroutine."""
    with not_taken_for_an_answer():
        return await work


def variables_of(prompt: BasePromptTemplate) -> Collection[str]:
    """The names that a prompt is filled in under.

    Raises:
        PromptError: It is no prompt template.
    """
    if not isinstance(prompt, BasePromptTemplate):
        raise PromptError(
            f"prompt is a {type(prompt).__name__}; give a prompt template, or pass a string to "
            "`complete`."
        )
    return prompt.template_vars
