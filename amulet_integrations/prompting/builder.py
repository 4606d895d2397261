"""From a conversation and preference texts to the token ids of every context.

`PromptBuilder.prepare` validates the conversation. The `PreparedPrompt` that it returns escapes
what people wrote, renders the chat template, undoes the escaping and tokenises the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.decoding.turn_end import turn_end_token
from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS
from amulet_integrations.prompting.tools.template import ToolTemplate, find_tool_template
from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool, ToolUse

from .chat_template import prompt_format
from .formatted_prompt import formatted_contexts
from .messages import DEFAULT_SEPARATOR, DEFAULT_SYSTEM, ChatMessage
from .prepared_prompt import PreparedPrompt
from .prompt_inputs import PromptInputs
from .prompt_template import PromptTemplate
from .prompt_tokenizer import PromptTokenizer
from .token_counter import TokenCounter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from amulet_integrations.prompting.parsing.parser import AnswerParser
    from amulet_integrations.prompting.parsing.reasoning import Reasoning
    from amulet_integrations.prompting.tools.formats import ToolFormat


class PromptOptions(TypedDict, total=False):
    """What a prompt is made from besides the messages and the preference."""

    tools: Sequence[Tool]
    json_output: JsonOutput | None
    chat_template_kwargs: Mapping[str, Any] | None


class PromptBuilder:
    """Builds the prompts of one model.

    The contexts of a conversation differ only in the preference. Text in messages, preferences,
    tools, calls and results is never read as control tokens. What the model's chat template
    supports is found out by trying it, once, when it is first needed.

    Args:
        tokenizer: The model's transformers tokenizer.
        separator: Stands between the system text and the preference.
        default_system: The system text of every context if the caller gives none.
        chat_template: A template, or the name of one of the tokenizer's, to use instead of the
            tokenizer's default.
        context_window: Most tokens of a prompt. Prompts that are far longer are refused before
            they are rendered. None for no such limit.

    Raises:
        PromptError: `default_system` is blank, or the tokenizer has several templates and none
            is the default.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        separator: str = DEFAULT_SEPARATOR,
        default_system: str = DEFAULT_SYSTEM,
        chat_template: str | None = None,
        context_window: int | None = None,
    ) -> None:
        if not default_system.strip():
            raise PromptError(
                f"default_system={default_system!r:.40} is blank, so chat templates would put a "
                "text of their own into some contexts only. Give it some text."
            )
        self._tokenizer = tokenizer
        self._format = prompt_format(tokenizer, chat_template)
        self._prompt_tokenizer = PromptTokenizer(tokenizer, self._format.source)
        self._template = PromptTemplate(
            format=self._format,
            tokenizer=self._prompt_tokenizer,
            default_system=default_system,
            separator=separator,
            context_window=context_window,
        )

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template; without one, prompts are plain text."""
        return self._format.is_chat

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings that the prompt format needs; () for models with a chat template."""
        return self._format.stop

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The token that ends an assistant's turn, where the chat template writes one.

        `LocalEngine` knows that of the tokenizer's own template. Give these to a request where the
        builder has a template of its own.
        """
        end = turn_end_token(self._tokenizer, self._format.source)
        return frozenset() if end is None else frozenset({end})

    @property
    def thinks(self) -> bool:
        """Whether the model's template writes `<think>`, or reads it in answers."""
        return self._format.thinks

    @cached_property
    def tool_format(self) -> ToolFormat:
        """How the model writes calls: as its template does, or as the system text explains."""
        # Imported here, so that prompts without tools load no grammars.
        from amulet_integrations.prompting.tools.formats import TOOL_FORMATS  # noqa: PLC0415

        return TOOL_FORMATS[self._tool_template.style](self._tokenizer)

    def prepare(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Tool] = (),
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> PreparedPrompt:
        """Validates a conversation once, for all that is asked of its prompts.

        Args:
            messages: The conversation. System messages are gathered into one at the front. If the
                last message is the assistant's, the prompt ends with its text, and the answer
                continues it.
            tools: The tools that the model may call.
            json_output: The JSON that the answer has to be.
            chat_template_kwargs: More arguments for the model's chat template. Control tokens
                in their strings stay text.

        Returns:
            The contexts of the conversation, and whether its answer begins with thoughts. The
            base context is rendered once for both.

        Raises:
            PromptError: The conversation has no user message with text, a tool message answers
                no call, or `chat_template_kwargs` has a name that is set here.
        """
        inputs = PromptInputs(messages, tools, json_output, chat_template_kwargs)
        return self._prepared(inputs, self._template.context_window)

    def contexts(
        self,
        messages: Sequence[ChatMessage],
        preference_texts: Sequence[str | None],
        **options: Unpack[PromptOptions],
    ) -> list[list[int]]:
        """Token ids of the conversation under each preference.

        Args:
            messages: As for `prepare`.
            preference_texts: One entry for each context: None for the base context, otherwise
                the text that follows the system message.
            options: `tools`, `json_output` and `chat_template_kwargs`, as for `prepare`.

        Returns:
            One list of token ids for each entry, ready for the model.

        Raises:
            PromptError: As for `prepare`; or a preference is blank, or the model's chat template
                refuses the conversation, changes a text that is to be written as it is, or writes
                another prompt because of a preference or of a name of a tool or property.
            ContextLengthError: A prompt is far longer than `context_window`.
        """
        return self.prepare(messages, **options).contexts(preference_texts)

    def formatted_contexts(
        self, prompt: str, preference_texts: Sequence[str | None]
    ) -> list[list[int]]:
        """Token ids, under each preference, of a prompt that the caller has formatted.

        Args:
            prompt: The whole prompt. Control tokens in it are the caller's and read as such.
            preference_texts: One entry for each context: None for the base context, otherwise
                the text that goes in front of the prompt, because the place of a system message
                in it is not known. Control tokens in the preference stay text.

        Returns:
            One list of token ids for each entry, ready for the model.

        Raises:
            PromptError: The prompt or a preference is blank.
            ContextLengthError: The prompt or a preference is far longer than `context_window`.
        """
        return formatted_contexts(prompt, preference_texts, self._template)

    def render(
        self,
        messages: Sequence[ChatMessage],
        preference_text: str | None = None,
        **options: Unpack[PromptOptions],
    ) -> str:
        """The prompt as text, for people to look at.

        Args:
            messages: As for `prepare`.
            preference_text: The text that follows the system message; None for none.
            options: `tools`, `json_output` and `chat_template_kwargs`, as for `prepare`.

        Returns:
            The text. Control tokens that somebody typed look like the template's own here; in
            `contexts` they do not.

        Raises:
            PromptError: As for `contexts`.
        """
        return self.prepare(messages, **options).render(preference_text)

    def reasoning(
        self,
        messages: Sequence[ChatMessage],
        **options: Unpack[PromptOptions],
    ) -> Reasoning:
        """`PreparedPrompt.reasoning` of a conversation; the arguments are those of `prepare`."""
        return self.prepare(messages, **options).reasoning

    def skip_special_tokens(self, *, calls: bool, reasoning: Reasoning) -> bool:
        """Whether an answer can be read without the text of special tokens.

        Args:
            calls: Whether it may contain calls.
            reasoning: Whether thoughts come first, from `reasoning`.
        """
        if calls and not self.tool_format.skip_special_tokens:
            return False
        return reasoning == "none" or not self._prompt_tokenizer.is_special(END_OF_THOUGHTS)

    def parser(
        self,
        tool_use: ToolUse | None = None,
        reasoning: Reasoning = "none",
        *,
        calls_open_answer: bool = False,
    ) -> AnswerParser:
        """What reads the model's answer.

        Args:
            tool_use: The tools that the answer may call.
            reasoning: Whether thoughts come first, from `reasoning`.
            calls_open_answer: Whether calls can stand only at the beginning of the answer, as
                beside JSON.

        Returns:
            A parser for one answer.
        """
        from amulet_integrations.prompting.parsing.parser import AnswerParser  # noqa: PLC0415

        if tool_use is None:
            return AnswerParser(reasoning=reasoning)
        from amulet_integrations.prompting.json_schema.finished_values import (  # noqa: PLC0415
            fault_of,
        )

        schemas = {tool.name: tool.parameters for tool in tool_use.tools}
        return AnswerParser(
            self.tool_format,
            schemas,
            reasoning,
            calls_open_answer=calls_open_answer,
            find_fault=lambda name, found: fault_of(schemas[name], found, of_arguments=True),
        )

    def count_tokens(self, messages: Sequence[ChatMessage], *, tools: Sequence[Tool] = ()) -> int:
        """How many tokens the base context of a conversation has.

        Args:
            messages: The conversation, or any part of one. Messages that cannot be written as a
                prompt are counted one by one, each with the tokens that a turn adds.
            tools: The tools that the model may call.

        Returns:
            The number of tokens; 0 for no messages.
        """
        return self._token_counter.count(messages, tools)

    def count_text(self, text: str) -> int:
        """How many tokens a text by itself has."""
        return self._prompt_tokenizer.count(text)

    @cached_property
    def _token_counter(self) -> TokenCounter:
        return TokenCounter(
            self._prompt_length,
            self._prompt_tokenizer.count,
        )

    def _prompt_length(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        """The tokens of a base context, which may be longer than the context window."""
        prepared = self._prepared(PromptInputs(messages, tools), context_window=None)
        return len(prepared.contexts([None])[0])

    def _prepared(self, inputs: PromptInputs, context_window: int | None) -> PreparedPrompt:
        inputs.validate()
        template = self._template_with_tools if inputs.mentions_tools else self._template
        return PreparedPrompt(inputs, replace(template, context_window=context_window))

    @cached_property
    def _tool_template(self) -> ToolTemplate:
        return find_tool_template(self._tokenizer, self._format)

    @cached_property
    def _template_with_tools(self) -> PromptTemplate:
        tools = self._tool_template
        return replace(
            self._template,
            format=tools.format,
            tokenizer=PromptTokenizer(self._tokenizer, tools.source),
            tools=tools,
        )
