"""The prompts of one conversation: escaped, rendered, unescaped and tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from amulet_integrations.prompting.chat_template import PromptFormat
from amulet_integrations.prompting.control_tokens import ControlTokens
from amulet_integrations.prompting.escaping import PromptText
from amulet_integrations.prompting.messages import check_preference, system_text
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK, Reasoning
from amulet_integrations.prompting.prompt_inputs import PromptInputs, escape_turn, json_section
from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.turns import tool_turn, turns_of


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """How the prompts of one model are written.

    Attributes:
        format: The model's prompt format.
        control_tokens: The tokenizer, with the markers that the format writes.
        default_system: The system text if the caller gave none.
        separator: Stands between the system text and the preference.
        tools: How tools, calls and results are written; None for conversations without any.
    """

    format: PromptFormat
    control_tokens: ControlTokens
    default_system: str
    separator: str
    tools: ToolTemplate | None = None


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
        leading = [] if self._template.format.is_chat else self._template.control_tokens.leading_ids
        texts = list(map(self._text, preference_texts))
        return [leading + self._template.control_tokens.encode(text) for text in texts]

    def render(self, preference_text: str | None = None) -> str:
        """The prompt as text; see `PromptBuilder.render`."""
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
        if self._base.ends_with(THINK):
            return "already open"
        return "none" if self._base.ends_with(END_OF_THOUGHTS) else "may open"

    @cached_property
    def _base(self) -> PromptText:
        return self._render(None)

    def _text(self, preference: str | None) -> PromptText:
        check_preference(preference)
        return self._base if preference is None else self._render(preference)

    def _render(self, preference: str | None) -> PromptText:
        """Escapes what people wrote, renders it, and undoes the escaping."""
        inputs, template = self._inputs, self._template
        own = (template.default_system, template.separator, preference or "")
        escaper = template.control_tokens.escaper(chain(own, inputs.strings()))
        turns = [
            escape_turn(template.format.split_reasoning(turn), escaper)
            for turn in turns_of(inputs.messages)
        ]
        sections = [json_section(escaper.escape_json(inputs.schema))]
        template_tools = None
        if template.tools is not None:
            tools = [tool_turn(tool, escaper) for tool in inputs.tools]
            sections.insert(0, template.tools.system_section(tools))
            turns = template.tools.arrange_turns(turns)
            template_tools = template.tools.template_tools(tools)
        system = system_text(
            [escaper.escape(m.content) for m in inputs.messages if m.role == "system"],
            None if preference is None else escaper.escape(preference),
            default=escaper.escape(template.default_system),
            separator=escaper.escape(template.separator),
            sections=sections,
        )
        rendered = template.format.render(
            template.format.layout(system, turns),
            template_tools,
            escaper.escape_values(inputs.chat_template_kwargs or {}),
        )
        return escaper.unescape(rendered)
