"""Writes the prompts of a conversation, which differ by the preference and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import PromptError

from .escaping import PromptText
from .name_check import SortedNames, differs_by_shifts, find_special_name, shifted
from .placeholders import Placeholders
from .prompt_inputs import PromptInputs
from .prompt_template import ConversationTemplate, PromptTemplate
from .stranger_texts import KEYS, StrangerTexts, names_in

_LEFT_OUT = (
    "The prompt with the preference is the same as the one without, so no answer could "
    "follow it: the model's chat template leaves the preference out. Pass a "
    "chat_template that writes the whole system text, or another preference."
)
_SHAPED = (
    "The model's chat template writes another prompt for the length of a text, or for marks and "
    "capitals in it: of the preference, or of a description in a tool or schema. So it cannot be "
    "written as it is. Use shorter and simpler texts, or pass a chat_template that writes texts "
    "unchanged."
)
_MAX_SHAPES = 16  # shapes of preferences, of which renderings are kept
_SHOWN = 80  # characters of a name


class PromptWriter:
    """Writes the prompts of one conversation.

    The template is rendered once without a preference and once with a placeholder for it.

    Args:
        inputs: The conversation, which is known to be valid.
        template: How prompts are written.
    """

    def __init__(self, inputs: PromptInputs, template: PromptTemplate) -> None:
        self._inputs = inputs
        self._template = template
        own = (template.default_system, template.separator)
        self._escaper = template.tokenizer.escaper(chain(own, inputs.strings()))
        self._opening, closing = self._escaper.spare
        self._placeholders = Placeholders(
            self._opening, closing, self._escaper.word, self._escaper.escape
        )
        self._render = ConversationTemplate(
            inputs, template, self._escaper, self._placeholders
        ).render
        self._preferred: dict[str, PromptText] = {}

    @cached_property
    def base(self) -> PromptText:
        """The prompt without a preference.

        Raises:
            PromptError: The template refuses the conversation, changes a text, or treats a name in
                a way of its own.
        """
        rendered = self._render()
        prompt = self._escaper.unescape(rendered)
        base = self._placeholders.fill(prompt)
        self._check_shapes(prompt)
        if name := self._find_special_name(rendered, base.text):
            raise PromptError(
                f"The model's chat template looks for words in the names of tools and properties, "
                f"and writes another prompt because of the name {name[:_SHOWN]!r}. Rename it, or "
                "pass a chat_template that writes names as they are."
            )
        return base

    def with_preference(self, preference: str) -> PromptText:
        """The prompt with a preference, which differs from the base by nothing else.

        Raises:
            PromptError: As for `base`; or the template leaves the preference out, or writes more
                than it.
        """
        preference = self._template.separator + preference
        hidden = self._placeholders.hide_preference(preference)
        if hidden not in self._preferred:
            rendered = self._render(hidden)
            prompt = self._escaper.unescape(rendered)
            self._placeholders.fill(prompt)
            self._check_texts_differ_by(rendered, hidden)
            self._check_shapes(prompt, preference)
            if len(self._preferred) >= _MAX_SHAPES:
                self._preferred.clear()
            self._preferred[hidden] = prompt
        return self._placeholders.fill(self._preferred[hidden], preference)

    def _check_shapes(self, prompt: PromptText, preference: str | None = None) -> None:
        """Refuses texts of which the template reads more than their first and last characters.

        The same texts without their words cannot switch a template. So the template has to write
        them as they are put in for the placeholders.

        Args:
            prompt: The prompt with placeholders.
            preference: What follows the system text; None for none.
        """
        inputs, write_text = self._inputs, self._placeholders.without_words
        texts = StrangerTexts(str, write_text)
        written = None if preference is None else write_text(preference)
        tools = [texts.tool(tool.model_dump()) for tool in inputs.tools]
        schema = texts.schema(inputs.schema)
        if not (written or tools or schema):
            return

        def find() -> str | None:
            plain = self._render(self._escaper.escape(written or ""), write_text=write_text)
            expected = self._placeholders.fill(prompt, preference, words=False).text
            return None if self._escaper.unescape(plain).text == expected else "changed"

        systems = [it.content for it in inputs.messages if it.role == "system"]
        roles = [it.role for it in inputs.messages]
        kwargs = dict(inputs.chat_template_kwargs or {})
        places = ("shapes", written, tools, schema, written and systems, sorted({*roles}), kwargs)
        key = sha256(json.dumps(places).encode()).digest()
        if self._template.verdicts.get(key, find) is not None:
            raise PromptError(_SHAPED)

    def _find_special_name(self, rendered: str, base: str) -> str | None:
        """A name that the template treats in a way of its own; None if there is none.

        Args:
            rendered: The prompt as the template wrote it.
            base: The prompt.
        """
        inputs = self._inputs
        called = {call.name for message in inputs.messages for call in message.tool_calls}
        tools = [tool.model_dump() for tool in inputs.tools]
        names = [*dict.fromkeys([*names_in(iter(tools), inputs.schema), *sorted(called)])]

        def is_special(some: list[str]) -> bool:
            return not any(self._renames(some, names, rendered, base))

        def find() -> str | None:
            return find_special_name(names, is_special)

        if not names:
            return None
        without_texts = StrangerTexts(str, lambda text: text and "text")
        places = (
            [without_texts.tool(tool) for tool in tools],
            without_texts.schema(inputs.schema),
            sorted(called),
            sorted({message.role for message in inputs.messages}),
            dict(inputs.chat_template_kwargs or {}),
        )
        return self._template.verdicts.get(sha256(json.dumps(places).encode()).digest(), find)

    def _renames(
        self, some: Sequence[str], names: Sequence[str], rendered: str, base: str
    ) -> Iterator[bool]:
        """For each way to write some of the names: whether nothing but the names changes."""
        others = {*names} - {*some}
        if (written := shifted(some, others)) is not None:
            try:
                yield differs_by_shifts(rendered, self._render(names=written))
            except PromptError:
                yield False
        for key in (str, str.lower):
            ordered = SortedNames(some, others | KEYS, key, self._placeholders.hide_whole)
            try:
                renamed = self._escaper.unescape(self._render(names=ordered.written)).text
                bare = ordered.without_prefixes(renamed, self._opening)
                yield self._placeholders.fill(bare).text == base
            except PromptError:
                yield False

    def _check_texts_differ_by(self, rendered: str, hidden: str) -> None:
        """Refuses a prompt that lacks the preference, or differs from the base by more than it."""
        if not self._placeholders.has_preference(rendered):
            raise PromptError(_LEFT_OUT)
        bare = self._placeholders.without_preference(rendered, hidden)
        without = self._placeholders.fill(self._escaper.unescape(bare)).text
        # White space is left out, because templates trim the end of the system text.
        if "".join(without.split()) != "".join(self.base.text.split()):
            raise PromptError(
                "The model's chat template writes another prompt where the system text holds a "
                "preference, so the contexts would differ by more than the preference. Pass a "
                "chat_template that writes the system text as it is."
            )
