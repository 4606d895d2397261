"""What a model's prompt format can and cannot do, and rendering with it.

Chat templates are programs, so what they accept is found out by trying: each probe renders a tiny
conversation once and looks whether its words come out. A model without a template gets plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.messages import BLANK_LINE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = dict[str, str]
"""A message as templates take it: "role" and "content", for some also "reasoning_content"."""

_REASONING_END = "</think>"


class PromptFormat(Protocol):
    """How a conversation becomes the text of a prompt."""

    is_chat: bool
    source: str
    stop: tuple[str, ...]

    def layout(self, system: str, turns: Sequence[Turn]) -> list[Turn]:
        """Arranges the system text and the turns as this format wants them."""
        ...

    def render(self, turns: Sequence[Turn]) -> str:
        """Writes the prompt, up to where the assistant's answer begins."""
        ...


def prompt_format(tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> PromptFormat:
    """The format of a model's prompts.

    Args:
        tokenizer: The model's tokenizer.
        chat_template: A template (or the name of one) to use in place of the tokenizer's own.

    Returns:
        The model's chat format, or plain text where it has no template.

    Raises:
        PromptError: The tokenizer has several templates and none of them is the default.
    """
    if not chat_template and not tokenizer.chat_template:
        return PlainFormat()
    try:
        source = tokenizer.get_chat_template(chat_template)
    except ValueError as error:
        raise PromptError(f"No chat template to use: {error}") from error
    return ChatFormat(tokenizer, source)


class PlainFormat:
    """The prompt of a model without a chat template: the system text, then a dialogue."""

    is_chat = False
    source = ""
    # Without a template nothing else ends the assistant's turn.
    stop: tuple[str, ...] = ("\nUser:",)

    def layout(self, system: str, turns: Sequence[Turn]) -> list[Turn]:
        """Puts the system text first."""
        return [{"role": "system", "content": system}, *turns]

    def render(self, turns: Sequence[Turn]) -> str:
        """Writes the system text, a blank line, and the dialogue up to "Assistant:"."""
        system, *dialogue = turns
        lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in dialogue]
        return "\n".join([system["content"] + "\n", *lines, "Assistant:"])


class ChatFormat:
    """The prompt of a model with a chat template.

    Args:
        tokenizer: The model's tokenizer.
        source: The template's source.
    """

    is_chat = True
    stop: tuple[str, ...] = ()

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        self.source = source
        self._tokenizer = tokenizer

    def layout(self, system: str, turns: Sequence[Turn]) -> list[Turn]:
        """Fits the conversation to what the template takes.

        Where there is no system role, the system text opens the first user turn; where two turns
        of one role are refused, they become one; reasoning that the template would cut out of an
        earlier answer is passed to it as reasoning.
        """
        turns = [self._part_reasoning(turn) for turn in turns]
        if self._has_system_role:
            turns = [{"role": "system", "content": system}, *turns]
        else:
            turns = _fold_system(system, turns)
        return _merge_same_role(turns) if self._wants_alternation else turns

    def render(self, turns: Sequence[Turn]) -> str:
        """Renders the turns, with the generation prompt.

        Raises:
            PromptError: The template refused the conversation; its own message is quoted.
        """
        try:
            rendered = self._tokenizer.apply_chat_template(
                list(turns),
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=True,
            )
        except Exception as error:  # templates raise whatever they like
            roles = ", ".join(turn["role"] for turn in turns)
            raise PromptError(
                f"The model's chat template refused the conversation (roles: {roles}): {error} "
                "Change the order of the turns, or pass a chat_template that takes it."
            ) from error
        return str(rendered)

    @cached_property
    def _has_system_role(self) -> bool:
        return self._shows(("system", "alpha"), ("user", "beta"))

    @cached_property
    def _wants_alternation(self) -> bool:
        return not self._shows(
            ("user", "alpha"), ("user", "beta"), ("assistant", "gamma"), ("assistant", "delta")
        )

    @cached_property
    def _cuts_reasoning(self) -> bool:
        answer = "<think>\nsentinelreasoning\n</think>\n\nsentinelalpha"
        rendered = self._try(("user", "beta"), ("assistant", answer), ("user", "gamma"))
        return "sentinelalpha" in rendered and "sentinelreasoning" not in rendered

    def _shows(self, *turns: tuple[str, str]) -> bool:
        words = [f"sentinel{word}" for _, word in turns]
        rendered = self._try(*((role, f"sentinel{word}") for role, word in turns))
        return all(word in rendered for word in words)

    def _try(self, *turns: tuple[str, str]) -> str:
        try:
            return self.render([{"role": role, "content": content} for role, content in turns])
        except PromptError:
            return ""

    def _part_reasoning(self, turn: Turn) -> Turn:
        """Parts a reasoning model's answer: the template is not shown `<think>` in contents."""
        content = turn["content"]
        if turn["role"] != "assistant" or _REASONING_END not in content:
            return turn
        if not self._cuts_reasoning:
            return turn
        reasoning, _, answer = content.rpartition(_REASONING_END)
        reasoning = reasoning.strip().removeprefix("<think>").strip("\n")
        return {**turn, "content": answer.lstrip("\n"), "reasoning_content": reasoning}


def _fold_system(system: str, turns: Sequence[Turn]) -> list[Turn]:
    first = next(index for index, turn in enumerate(turns) if turn["role"] == "user")
    opened = {**turns[first], "content": system + BLANK_LINE + turns[first]["content"]}
    return [*turns[:first], opened, *turns[first + 1 :]]


def _merge_same_role(turns: Sequence[Turn]) -> list[Turn]:
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1]["role"] == turn["role"]:
            content = merged[-1]["content"] + BLANK_LINE + turn["content"]
            merged[-1] = {**merged[-1], **turn, "content": content}
        else:
            merged.append(turn)
    return merged
