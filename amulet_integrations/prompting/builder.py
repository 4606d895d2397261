"""From a conversation and preference texts to the token ids of every context."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.chat_template import prompt_format
from amulet_integrations.prompting.escaping import ControlTokens, Text
from amulet_integrations.prompting.messages import (
    DEFAULT_SEPARATOR,
    DEFAULT_SYSTEM,
    ChatMessage,
    check_preference,
    check_prompt,
)
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK
from amulet_integrations.prompting.prompt_inputs import Asked
from amulet_integrations.prompting.tools.calls import parted
from amulet_integrations.prompting.tools.probe import CallStyle
from amulet_integrations.prompting.tools.template import ToolTemplate, tool_template
from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool, ToolUse
from amulet_integrations.prompting.writer import PromptWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from amulet_integrations.prompting.parsing.parser import AnswerParser
    from amulet_integrations.prompting.parsing.reasoning import Reasoning
    from amulet_integrations.prompting.tools.formats import ToolFormat


class Prompts(NamedTuple):
    """The rendered contexts of one conversation.

    Attributes:
        contexts: Token ids, one list for each preference text.
        reasoning: Whether the answer begins with reasoning; see `PromptBuilder.reasoning`.
    """

    contexts: list[list[int]]
    reasoning: Reasoning = "none"


class PromptBuilder:
    """Writes the prompts of one model.

    All contexts of a conversation differ by the preference and by nothing else, and text in
    messages, preferences, tools, calls and their results is never read as control tokens. What the
    model's chat template cannot do is found out by trying it, once, when it is first needed.

    Args:
        tokenizer: The model's transformers tokenizer.
        separator: Stands between the system text and the preference.
        default_system: The system text of every context when the caller gave none.
        chat_template: A template (or the name of one of the tokenizer's) to use in place of the
            tokenizer's default.

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
    ) -> None:
        if not default_system.strip():
            raise PromptError(
                f"default_system={default_system!r} is blank, so chat templates would put a text "
                "of their own into some contexts only. Give it some text."
            )
        self._tokenizer = tokenizer
        self._separator = separator
        self._default_system = default_system
        self._format = prompt_format(tokenizer, chat_template)
        self._control_tokens = ControlTokens(tokenizer, self._format.source)

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template; without one, prompts are plain text."""
        return self._format.is_chat

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings that the prompt format needs; () for models with a chat template."""
        return self._format.stop

    @property
    def thinks(self) -> bool:
        """Whether the model's template writes `<think>`, or reads it in answers."""
        return self._format.thinks

    @cached_property
    def tool_format(self) -> ToolFormat:
        """How the model writes calls: as its template does, or as the system text says."""
        # Here, so that prompts without tools load no grammars.
        from amulet_integrations.prompting.tools.formats import (  # noqa: PLC0415
            HermesFormat,
            LlamaFormat,
            MistralArgsFormat,
            MistralFormat,
        )

        formats: dict[CallStyle, Callable[[PreTrainedTokenizerBase], ToolFormat]] = {
            "hermes": HermesFormat,
            "llama": LlamaFormat,
            "mistral": MistralFormat,
            "mistral-args": MistralArgsFormat,
        }
        return formats[self._tool_template.style](self._tokenizer)

    @property
    def tells_tools_as_text(self) -> bool:
        """Whether tools are told in the system text, as the model's template knows none."""
        return bool(self._tool_template.section([{"function": {}}]))

    def contexts(
        self,
        messages: Sequence[ChatMessage],
        preference_texts: Sequence[str | None],
        *,
        tools: Sequence[Tool] = (),
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[list[int]]:
        """Token ids of the conversation under each preference.

        Args:
            messages: The conversation. System messages are gathered into one at the front. The
                last message may be the assistant's.
            preference_texts: One entry for each context: None for the base context, otherwise
                the text that follows the system message.
            tools: What the model may call.
            json_output: The JSON that the answer has to be.
            chat_template_kwargs: More arguments for the model's chat template. Control tokens
                in their strings stay text.

        Returns:
            One list of token ids for each entry, ready for the model.

        Raises:
            PromptError: The conversation has no user message with text, a tool message answers
                no call, a preference is blank, `chat_template_kwargs` has a name that is set
                here, or the model's chat template refuses the conversation.
        """
        return self.render_contexts(
            messages,
            preference_texts,
            tools=tools,
            json_output=json_output,
            chat_template_kwargs=chat_template_kwargs,
        ).contexts

    def render_contexts(
        self,
        messages: Sequence[ChatMessage],
        preference_texts: Sequence[str | None],
        *,
        tools: Sequence[Tool] = (),
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Prompts:
        """`contexts` and `reasoning` of one conversation, with every prompt rendered once."""
        asked = _sound(Asked(messages, tools, json_output, chat_template_kwargs))
        prompts = [self._written(asked, text) for text in preference_texts]
        contexts = [self._writer(asked).encode(prompt) for prompt in prompts]
        return Prompts(contexts, self._reasoning_after(prompts[0]) if prompts else "none")

    def count_tokens(self, messages: Sequence[ChatMessage], *, tools: Sequence[Tool] = ()) -> int:
        """How many tokens the base context of a conversation has.

        Args:
            messages: The conversation, or any part of one: where it cannot be written as a
                prompt, its messages are counted one by one, with what a turn costs.
            tools: What the model may call.

        Returns:
            The number of tokens; 0 for no messages.
        """
        if not messages:
            return 0
        sound, lone = parted(messages)
        for talk, others in ((messages, ()), ([_A_QUESTION, *sound], lone), ((), messages)):
            try:
                (ids,) = self.contexts(talk or [_A_QUESTION], [None], tools=tools)
            except PromptError:
                continue
            return len(ids) + sum(map(self._about, others))
        return sum(map(self._about, messages))

    def _about(self, message: ChatMessage) -> int:
        """About how many tokens a message adds to a prompt."""
        calls = [
            json.dumps(call.model_dump(), ensure_ascii=False, default=str)
            for call in message.tool_calls
        ]
        said = sum(map(self._control_tokens.count, [message.content, *calls]))
        return said + self._turn_cost * (1 + len(calls))

    def formatted_contexts(
        self, prompt: str, preference_texts: Sequence[str | None]
    ) -> list[list[int]]:
        """Token ids, under each preference, of a prompt that the caller has written whole.

        Args:
            prompt: The whole prompt. Control tokens in it are the caller's and read as such.
            preference_texts: One entry for each context: None for the base context, otherwise
                the text that goes in front of the prompt, since where a system message would be
                is not known. Control tokens in it stay text.

        Returns:
            One list of token ids for each entry, ready for the model.

        Raises:
            PromptError: The prompt or a preference is blank.
        """
        check_prompt(prompt)
        leading = self._control_tokens.leading_ids
        # A caller who wrote the BOS token gets it once, in front of the preference.
        prompt = prompt.removeprefix(self._control_tokens.leading_text)
        contexts = []
        for preference in preference_texts:
            check_preference(preference)
            front = "" if preference is None else preference + self._separator
            text = Text(front + prompt, b"\1" * len(front) + bytes(len(prompt)))
            contexts.append(leading + self._control_tokens.encode(text))
        return contexts

    def render(
        self,
        messages: Sequence[ChatMessage],
        preference_text: str | None = None,
        *,
        tools: Sequence[Tool] = (),
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt as text, for people to look at.

        Args:
            messages: The conversation.
            preference_text: The text that follows the system message; None for none.
            tools: As for `contexts`.
            json_output: As for `contexts`.
            chat_template_kwargs: As for `contexts`.

        Returns:
            The text. Control tokens that somebody typed look like the template's own here; in
            `contexts` they do not.

        Raises:
            PromptError: As for `contexts`.
        """
        asked = _sound(Asked(messages, tools, json_output, chat_template_kwargs))
        return self._written(asked, preference_text).text

    def reasoning(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Tool] = (),
        json_output: JsonOutput | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Reasoning:
        """Whether the answer to a conversation begins with thoughts.

        Args:
            messages: The conversation.
            tools: As for `contexts`.
            json_output: As for `contexts`.
            chat_template_kwargs: As for `contexts`.

        Returns:
            "already open" where the template itself ends the prompt with `<think>`, "may open"
            where the model thinks if it wants to, "none" where it does not, or where the
            template ends the prompt with thoughts that are over.

        Raises:
            PromptError: As for `contexts`.
        """
        if not self.thinks:
            return "none"
        asked = _sound(Asked(messages, tools, json_output, chat_template_kwargs))
        return self._reasoning_after(self._written(asked, None))

    def _reasoning_after(self, prompt: Text) -> Reasoning:
        if not self.thinks:
            return "none"
        if prompt.ends_with(THINK):
            return "already open"
        return "none" if prompt.ends_with(END_OF_THOUGHTS) else "may open"

    def skip_special_tokens(self, *, calls: bool, reasoning: Reasoning) -> bool:
        """Whether an answer can be read without the text of special tokens.

        Args:
            calls: Whether it may hold calls.
            reasoning: Whether thoughts come first, from `reasoning`.
        """
        if calls and not self.tool_format.skip_special_tokens:
            return False
        return reasoning == "none" or not self._control_tokens.is_special(END_OF_THOUGHTS)

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
            calls_open_answer: Whether calls can stand at its beginning only, as beside JSON.

        Returns:
            A parser for one answer.
        """
        from amulet_integrations.prompting.parsing.parser import AnswerParser  # noqa: PLC0415

        if tool_use is None:
            return AnswerParser(reasoning=reasoning)
        names = [tool.name for tool in tool_use.tools]
        return AnswerParser(self.tool_format, names, reasoning, calls_open_answer=calls_open_answer)

    def _written(self, asked: Asked, preference: str | None) -> Text:
        check_preference(preference)
        return self._writer(asked).written(asked, preference)

    def _writer(self, asked: Asked) -> PromptWriter:
        return self._tool_writer if asked.speaks_of_tools else self._plain_writer

    @cached_property
    def _plain_writer(self) -> PromptWriter:
        return PromptWriter(
            self._format,
            self._control_tokens,
            default_system=self._default_system,
            separator=self._separator,
        )

    @cached_property
    def _tool_writer(self) -> PromptWriter:
        tools = self._tool_template
        return PromptWriter(
            tools.format,
            ControlTokens(self._tokenizer, tools.source),
            default_system=self._default_system,
            separator=self._separator,
            tool_template=tools,
        )

    @cached_property
    def _tool_template(self) -> ToolTemplate:
        return tool_template(self._tokenizer, self._format)

    @cached_property
    def _turn_cost(self) -> int:
        """About how many tokens a turn has besides its text."""
        answer = ChatMessage(role="assistant", content="a")
        talks = [_A_QUESTION], [_A_QUESTION, answer, _A_QUESTION]
        try:
            short, long = (len(self.contexts(talk, [None])[0]) for talk in talks)
        except PromptError:
            return _USUAL_TURN_COST
        return (long - short) // 2


def _sound(asked: Asked) -> Asked:
    """What is asked, checked once for all contexts."""
    asked.check()
    return asked


_A_QUESTION = ChatMessage(role="user", content="a")
_USUAL_TURN_COST = 5
