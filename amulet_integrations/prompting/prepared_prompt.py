"""The prompts of one conversation, one for each preference, as text and as token ids."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK, Reasoning

from .escaping import PromptText
from .length_bound import check_length
from .messages import check_preference
from .prompt_inputs import PromptInputs
from .prompt_template import PromptTemplate
from .prompt_writer import PromptWriter


class PreparedPrompt:
    """The prompts of one conversation, one for each preference.

    `PromptBuilder.prepare` makes it. The base context is rendered at most once, whatever is asked
    for, and all contexts are rendered in the same way.

    Args:
        inputs: The conversation, which is known to be valid.
        template: How prompts are written.
    """

    def __init__(self, inputs: PromptInputs, template: PromptTemplate) -> None:
        self._inputs = inputs
        self._template = template

    def contexts(self, preference_texts: Sequence[str | None]) -> list[list[int]]:
        """Token ids under each preference; see `PromptBuilder.contexts`."""
        # Rendered templates bring their own BOS; plain text needs the tokenizer's.
        leading = [] if self._template.format.is_chat else self._template.tokenizer.leading_ids
        self._check_lengths("conversation", self._inputs.texts_always_written)
        for preference in preference_texts:
            check_preference(preference)
            if preference is not None:
                self._check_lengths("preference", [preference])
        contexts = []
        for preference in preference_texts:
            text = self._text(preference)
            self._check_lengths("prompt", [text.text])
            contexts.append(leading + self._template.tokenizer.encode(text))
        check_tokens_differ(contexts, preference_texts)
        return contexts

    def _check_lengths(self, what: str, texts: Sequence[str]) -> None:
        """Refuses texts that are far too long, before they are rendered or tokenised whole."""
        window, count = self._template.context_window, self._template.tokenizer.count
        if window is not None:
            check_length(what, texts, window, count)

    def render(self, preference_text: str | None = None) -> str:
        """The prompt as text; see `PromptBuilder.render`."""
        check_preference(preference_text)
        return self._text(preference_text).text

    @cached_property
    def reasoning(self) -> Reasoning:
        """Whether the answer begins with thoughts.

        "already open" if the template itself ends the prompt with `<think>`; "may open" if the
        model thinks when it wants to; "none" if it does not think, or if the template ends the
        prompt with thoughts that are over.

        Raises:
            PromptError: The model's chat template refuses the conversation.
        """
        if not self._template.format.thinks:
            return "none"
        last = self._inputs.messages[-1]
        if last.role == "assistant" and last.content.strip():
            # The answer continues these thoughts, or else a text that comes after all thoughts.
            in_thoughts = last.content.lstrip().startswith(THINK)
            is_open = in_thoughts and END_OF_THOUGHTS not in last.content
            return "already open" if is_open else "none"
        if self._base.ends_with(THINK):
            return "already open"
        return "none" if self._base.ends_with(END_OF_THOUGHTS) else "may open"

    @cached_property
    def _writer(self) -> PromptWriter:
        return PromptWriter(self._inputs, self._template)

    @property
    def _base(self) -> PromptText:
        return self._writer.base

    def _text(self, preference: str | None) -> PromptText:
        return self._base if preference is None else self._writer.with_preference(preference)


def check_tokens_differ(
    contexts: Sequence[list[int]], preference_texts: Sequence[str | None]
) -> None:
    """Refuses a preference that is in a prompt and in none of its tokens.

    The writer finds it in the text. But tokenizers leave characters out of it: some those that have
    no width, some those past a limit.

    Args:
        contexts: The token ids of each context.
        preference_texts: The preference of each; None for the base context.

    Raises:
        PromptError: The tokens of a preference's context are those of the base context.
    """
    bases = [ids for ids, text in zip(contexts, preference_texts, strict=True) if text is None]
    if sum(ids in bases for ids in contexts) > len(bases):
        raise PromptError(
            "The prompt with the preference has the same tokens as the one without, so no answer "
            "could follow it: the model's tokenizer leaves all of its characters out. Write the "
            "preference in other characters."
        )
