"""Renders prompts with a model's chat template, and finds out what the template supports.

Chat templates are programs, so what they accept is found out by trying: each probe renders a tiny
conversation once and checks which of its words come out. A model without a template gets plain
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.turns import Turn

from .messages import BLANK_LINE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REASONING_END = "</think>"
_MAX_SHAPES = 256  # of conversations with which the system role was tried out


class PlainFormat:
    """The prompt of a model without a chat template: the system text, then a dialogue.

    Attributes:
        is_chat: Whether there is a chat template.
        source: The source of the template; "" without one.
        stop: Stop strings that end the assistant's turn.
        thinks: Whether the prompt writes `<think>`, or reads it in answers.
    """

    is_chat = False
    source = ""
    thinks = False
    # Without a template nothing else ends the assistant's turn.
    stop: tuple[str, ...] = ("\nUser:",)

    def split_reasoning(self, turn: Turn) -> Turn:
        """Leaves the answer as it is: plain text has one place for all of it."""
        return turn

    def layout(
        self,
        system: str,
        turns: Sequence[Turn],
        *,
        continues: bool = True,  # noqa: ARG002 - where it stands does not depend on it
    ) -> list[Turn]:
        """Puts the system text first."""
        return [{"role": "system", "content": system}, *turns]

    def render(
        self,
        turns: Sequence[Turn],
        tools: Sequence[dict[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        *,
        continues: bool = True,
        now: datetime | None = None,  # noqa: ARG002 - only templates write the time
    ) -> str:
        """Writes the system text, a blank line, and the dialogue up to "Assistant:".

        A last turn of the assistant's is left open if it `continues`.

        Raises:
            PromptError: There are arguments for a template, but no template.
        """
        if tools or template_kwargs:
            names = ", ".join(["tools"] if tools else template_kwargs or {})
            raise PromptError(
                f"The model has no chat template that could read {names}. Leave out "
                "chat_template_kwargs, or pass a chat_template."
            )
        system, *dialogue = turns
        lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in dialogue]
        if not (continues and _is_open(turns[-1])):
            lines.append("Assistant:")
        return "\n".join([system["content"] + "\n", *lines])


class ChatFormat:
    """The prompt of a model with a chat template.

    Args:
        tokenizer: The model's tokenizer.
        source: The template's source.
        folds_system: Whether the system text always opens the first user turn, even if the
            template has a system role.

    Attributes:
        folds_system: The same.
    """

    is_chat = True
    stop: tuple[str, ...] = ()

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, source: str, *, folds_system: bool = False
    ) -> None:
        self.source = source
        self._tokenizer = tokenizer
        self.folds_system = folds_system
        self._keeps_system: dict[tuple[bool, tuple[tuple[str, bool], ...]], bool] = {}

    def layout(self, system: str, turns: Sequence[Turn], *, continues: bool = True) -> list[Turn]:
        """Fits the conversation to what the template takes.

        If the template has no system role, or would leave the system text of such a conversation
        out, that text opens the first user turn. If it refuses two turns of one role in a row,
        they become one. `continues` is that of `render`.
        """
        if self._wants_alternation:
            turns = _merge_same_role(turns)
        if not self.folds_system and self.keeps_system(turns, continues=continues):
            return [{"role": "system", "content": system}, *turns]
        return _fold_system(system, turns)

    def render(
        self,
        turns: Sequence[Turn],
        tools: Sequence[dict[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        *,
        continues: bool = True,
        now: datetime | None = None,
    ) -> str:
        """Renders the prompt, up to where the assistant's answer begins.

        Args:
            turns: From `layout`.
            tools: The tools that the template lists.
            template_kwargs: More arguments for the template.
            continues: Whether the answer continues the last turn, if that is a text of the
                assistant's. Otherwise it is a turn of its own.
            now: The time that templates write, the same in all contexts of a prompt.

        Raises:
            PromptError: The template refused the conversation; its own message is quoted. Or it
                cannot end a prompt with the text of the assistant's last turn.
        """
        continued = continues and _is_open(turns[-1])
        variables: dict[str, Any] = {} if now is None else {"strftime_now": now.strftime}
        variables |= template_kwargs or {}
        try:
            rendered = self._tokenizer.apply_chat_template(
                list(turns),
                tools=list(tools) if tools else None,
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=not continued,
                continue_final_message=continued,
                **variables,
            )
            return str(rendered)
        except Exception as error:  # noqa: BLE001 - templates raise whatever they like
            refusal = error
        if continued and isinstance(refusal, ValueError):
            # transformers' own errors, not the template's, are ValueErrors. This one quotes the
            # conversation and the preference, so it is neither cause nor context.
            raise PromptError(
                "The last message is the assistant's, and the model's chat template does not write "
                "it as it is, so it cannot be continued. Add a user message after it."
            )
        roles = ", ".join(turn["role"] for turn in turns)
        raise PromptError(
            f"The model's chat template refused the conversation (roles: {roles}): {refusal} "
            "Change the order of the turns, or pass a chat_template that takes it."
        ) from refusal

    def try_render(
        self,
        turns: Sequence[Turn],
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        continues: bool = True,
    ) -> str:
        """The rendered prompt; "" if the template refuses the conversation."""
        try:
            return self.render(turns, tools, continues=continues)
        except PromptError:
            return ""

    @cached_property
    def thinks(self) -> bool:
        """Whether the template writes `<think>`, or reads it in answers."""
        question = {"role": "user", "content": "alpha"}
        answer = {"role": "assistant", "content": "beta", "reasoning_content": "gamma"}
        rendered = self.try_render([question]) + self.try_render([question, answer])
        return "<think>" in rendered or self._cuts_reasoning

    def split_reasoning(self, turn: Turn) -> Turn:
        """Splits a reasoning model's answer, so that no content contains `<think>`."""
        content = turn["content"]
        if turn["role"] != "assistant" or _REASONING_END not in content:
            return turn
        if "reasoning_content" in turn or not self._cuts_reasoning:
            return turn
        reasoning, _, answer = content.rpartition(_REASONING_END)
        reasoning = reasoning.strip().removeprefix("<think>").strip("\n")
        return {**turn, "content": answer.lstrip("\n"), "reasoning_content": reasoning}

    def keeps_system(self, turns: Sequence[Turn], *, continues: bool = True) -> bool:
        """Whether the template writes a system turn in front of turns of these roles.

        Some templates write the system text only if the last turn is the user's, for example.
        `continues` is that of `render`.
        """
        continued = continues and _is_open(turns[-1])
        shape = (continued, tuple((turn["role"], "tool_calls" in turn) for turn in turns))
        keeps = self._keeps_system.get(shape)
        if keeps is None:
            samples = [{**turn, "content": "sentinelturn"} for turn in turns]
            opened = [{"role": "system", "content": "sentinelsystem"}, *samples]
            rendered = self.try_render(opened, continues=continued)
            keeps = "sentinelsystem" in rendered
            if len(self._keeps_system) >= _MAX_SHAPES:
                self._keeps_system.clear()
            self._keeps_system[shape] = keeps
        return keeps

    @cached_property
    def _wants_alternation(self) -> bool:
        return not self._renders_all(
            ("user", "alpha"), ("user", "beta"), ("assistant", "gamma"), ("assistant", "delta")
        )

    @cached_property
    def _cuts_reasoning(self) -> bool:
        """Whether the template leaves out the thoughts of earlier answers."""
        answer = "<think>\nsentinelreasoning\n</think>\n\nsentinelalpha"
        rendered = self._try(("user", "beta"), ("assistant", answer), ("user", "gamma"))
        return "sentinelalpha" in rendered and "sentinelreasoning" not in rendered

    def _renders_all(self, *turns: tuple[str, str]) -> bool:
        """Whether every turn, of a role and a word, comes out."""
        sentinels = [(role, f"sentinel{word}") for role, word in turns]
        rendered = self._try(*sentinels)
        return all(sentinel in rendered for _, sentinel in sentinels)

    def _try(self, *turns: tuple[str, str]) -> str:
        return self.try_render([{"role": role, "content": content} for role, content in turns])


PromptFormat = PlainFormat | ChatFormat
"""How a conversation becomes the text of a prompt."""


def prompt_format(tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> PromptFormat:
    """The format of a model's prompts.

    Args:
        tokenizer: The model's tokenizer.
        chat_template: A template, or the name of one, to use instead of the tokenizer's own.

    Returns:
        The model's chat format, or plain text if it has no template.

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


def _is_open(turn: Turn) -> bool:
    """Whether a turn is a text of the assistant's, which can go on."""
    return turn["role"] == "assistant" and "tool_calls" not in turn


def _fold_system(system: str, turns: Sequence[Turn]) -> list[Turn]:
    first = next(index for index, turn in enumerate(turns) if turn["role"] == "user")
    opened = {**turns[first], "content": system + BLANK_LINE + turns[first]["content"]}
    return [*turns[:first], opened, *turns[first + 1 :]]


def _merge_same_role(turns: Sequence[Turn]) -> list[Turn]:
    merged: list[Turn] = []
    for turn in turns:
        if merged and _can_merge(merged[-1], turn):
            content = merged[-1]["content"]
            # A turn of calls often has no text.
            if turn["content"] or "tool_calls" not in turn:
                content += BLANK_LINE + turn["content"]
            merged[-1] = {**merged[-1], **turn, "content": content}
        else:
            merged.append(turn)
    return merged


def _can_merge(first: Turn, second: Turn) -> bool:
    """Whether two turns can become one; results, and what follows a call, stay separate."""
    role = first["role"]
    return role == second["role"] and role != "tool" and "tool_calls" not in first
