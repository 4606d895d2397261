"""From a conversation and preference texts to the token ids of every context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.chat_template import Turn, prompt_format
from amulet_integrations.prompting.control_tokens import (
    ControlTokens,
    Disguise,
    Text,
)
from amulet_integrations.prompting.messages import (
    DEFAULT_SEPARATOR,
    DEFAULT_SYSTEM,
    ChatMessage,
    check_conversation,
    check_preference,
    check_prompt,
    system_text,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptBuilder:
    """Writes the prompts of one model.

    All contexts of a conversation differ by the preference and by nothing else, and text in
    messages and preferences is never read as control tokens. What the model's chat template
    cannot do is found out by trying it, once, when it is first needed.

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

    def contexts(
        self, messages: Sequence[ChatMessage], preference_texts: Sequence[str | None]
    ) -> list[list[int]]:
        """Token ids of the conversation under each preference.

        Args:
            messages: The conversation. System messages are gathered into one at the front. The
                last message may be the assistant's.
            preference_texts: One entry for each context: None for the base context, otherwise
                the text that follows the system message.

        Returns:
            One list of token ids for each entry, ready for the model.

        Raises:
            PromptError: The conversation has no user message with text, a preference is blank,
                or the model's chat template refuses the conversation.
        """
        # Rendered templates bring their own BOS; plain text needs the tokenizer's.
        leading = [] if self.is_chat else self._control_tokens.leading_ids
        prompts = [self._rendered(messages, text) for text in preference_texts]
        return [leading + self._control_tokens.encode(prompt) for prompt in prompts]

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

    def render(self, messages: Sequence[ChatMessage], preference_text: str | None = None) -> str:
        """The prompt as text, for people to look at.

        Args:
            messages: The conversation.
            preference_text: The text that follows the system message; None for none.

        Returns:
            The text. Control tokens that somebody typed look like the template's own here; in
            `contexts` they do not.

        Raises:
            PromptError: As for `contexts`.
        """
        return self._rendered(messages, preference_text).text

    def _rendered(self, messages: Sequence[ChatMessage], preference: str | None) -> Text:
        check_conversation(messages)
        check_preference(preference)
        system = system_text(
            messages, preference, default=self._default_system, separator=self._separator
        )
        turns = [{"role": m.role, "content": m.content} for m in messages if m.role != "system"]
        turns = self._format.layout(system, turns)
        disguise = self._control_tokens.disguise(
            text for turn in turns for name, text in turn.items() if name != "role"
        )
        rendered = self._format.render([_disguised(turn, disguise) for turn in turns])
        return disguise.take_off(rendered)


def _disguised(turn: Turn, disguise: Disguise) -> Turn:
    return {name: text if name == "role" else disguise.put_on(text) for name, text in turn.items()}
