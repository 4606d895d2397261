"""Examples as token ids: the contexts that an answer follows, and the answer itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, ContextLengthError, EvidenceError, PromptError
from amulet_integrations.prompting import PromptBuilder
from amulet_integrations.prompting.chat_template import prompt_format
from amulet_integrations.prompting.prompt_tokenizer import PromptTokenizer

from .examples import Example


@dataclass(frozen=True, repr=False)
class TokenizedAnswer:
    """An answer that can be scored.

    Attributes:
        place: The example that it belongs to, such as "examples[3]", for messages.
        contexts: Token ids of each context that it follows, the base first.
        ids: Its own token ids.
    """

    place: str
    contexts: Sequence[Sequence[int]]
    ids: Sequence[int]


class AnswerTokenizer:
    """Tokenizes the prompts and the answers of examples.

    Args:
        engine: Brings the tokenizer and the context window.
        separator: Stands between the system message and a preference.
        chat_template_kwargs: Further variables of the model's chat template.
    """

    def __init__(
        self,
        engine: Engine,
        separator: str,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._engine = engine
        self._prompts = PromptBuilder(engine.tokenizer, separator=separator)
        self._options = chat_template_kwargs
        source = prompt_format(engine.tokenizer, None).source
        self._prompt_tokenizer = PromptTokenizer(engine.tokenizer, source)

    def tokenize(
        self, number: int, example: Example, texts: Sequence[str]
    ) -> tuple[TokenizedAnswer | None, TokenizedAnswer | None]:
        """The accepted and the rejected answer of an example; None where there is none.

        Args:
            number: The example's number among all, from 0, for messages.
            example: The example.
            texts: The preferences; each has a context, after the base.

        Raises:
            ContextLengthError: A context with an answer is past the engine's context window.
            PromptError: The question cannot be written as a prompt for this model.
        """
        place = f"examples[{number}]"
        try:
            contexts = self._contexts(example, texts)
            answers = [self._encode(text, example) for text in (example.accepted, example.rejected)]
        except AmuletError as error:
            raise type(error)(f"{place}: {error}") from error
        context, answer = (max(map(len, rows)) for rows in (contexts, answers))
        # The last token is never read, only predicted.
        if context + answer - 1 >= self._engine.context_window:
            raise ContextLengthError(
                f"{place}: a context of {context} tokens and an answer of {answer} do not fit the "
                f"context window of {self._engine.context_window} tokens of "
                f"{self._engine.model_name!r}. Leave the example out or shorten it."
            )
        accepted, rejected = (ids and TokenizedAnswer(place, contexts, ids) for ids in answers)
        return accepted or None, rejected or None

    def _contexts(self, example: Example, texts: Sequence[str]) -> list[list[int]]:
        messages, options = example.messages, self._options
        reasoning = self._prompts.reasoning(messages, chat_template_kwargs=options)
        if reasoning == "already open":
            raise PromptError(
                "The model's template begins every answer with thoughts, which answers of "
                "examples lack. Turn them off, often by "
                "chat_template_kwargs={'enable_thinking': False}."
            )
        return self._prompts.contexts(messages, [None, *texts], chat_template_kwargs=options)

    def _encode(self, text: str | None, example: Example) -> list[int]:
        if text is None:
            return []
        # In a dialogue of plain text, answers stand after "Assistant:" and a space.
        written = text if self._prompts.is_chat else " " + text.lstrip()
        # All of it is text of a person, so nothing in it counts as a control token.
        ids = self._prompt_tokenizer.encode_literal(written)
        return [*ids, self._end_id] if example.complete else ids

    @cached_property
    def _end_id(self) -> int:
        """The token that ends the assistant's turn: the template's own, or the tokenizer's."""
        for token in self._prompts.end_ids:
            return token
        tokenizer = self._engine.tokenizer
        if tokenizer.eos_token_id is None:
            raise EvidenceError(
                "complete=True, but the tokenizer names no token that ends a text. Leave complete "
                "off."
            )
        return int(tokenizer.eos_token_id)


def check_enough(
    answers: Sequence[TokenizedAnswer], examples: int, what: str, min_tokens: int, min_examples: int
) -> int:
    """Counts the tokens of all answers, and refuses too little to learn from.

    Args:
        answers: The answers.
        examples: How many examples they come from.
        what: What is counted by `examples`, for the message.
        min_tokens: Fewest tokens.
        min_examples: Fewest examples, however long they are.

    Raises:
        EvidenceError: There are too few tokens or examples.
    """
    tokens = sum(len(answer.ids) for answer in answers)
    if tokens < min_tokens:
        raise EvidenceError(
            f"The {len(answers)} answers have {tokens} tokens together, fewer than "
            f"min_tokens={min_tokens}. Give more or longer answers."
        )
    if examples < min_examples:
        raise EvidenceError(
            f"Too little to learn from: {examples} {what}, fewer than min_examples={min_examples}. "
            "So few hardly show how much answers differ. Give more."
        )
    return tokens
