"""Examples: questions with the answers that a user accepted or rejected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from amulet_integrations.errors import AmuletError, EvidenceError, UnknownArgumentError
from amulet_integrations.files import read_utf8
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.messages import check_encodable
from amulet_integrations.validation import FrozenModel

_TEXTS = ("question", "accepted", "rejected", "system")
_PAIR = ("question", "accepted")


class Example(FrozenModel):
    """A question with an answer that a user accepted, one that the user rejected, or both.

    Instances are frozen. The texts are private: neither `repr` nor any error message shows them.

    Attributes:
        question: What was asked: a string, or a conversation that does not end with the
            assistant's message.
        accepted: The answer that the user took, wrote or chose; None where there is none.
        rejected: The answer that the user turned down; None where there is none.
        system: The system message of the question; None leaves the usual one.
        complete: Whether the answers end where their texts do. Then the end counts as one more
            token, which shows much about preferences of length. Leave it off where answers may
            have been cut, or the cut would count as the user's wish.

    Raises:
        EvidenceError: There is no answer, a text is blank, both answers are the same, or a value
            is of the wrong type.
        PromptError: A text contains half of a surrogate pair.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = EvidenceError

    question: str | tuple[ChatMessage, ...] = Field(repr=False)
    accepted: str | None = Field(default=None, repr=False)
    rejected: str | None = Field(default=None, repr=False)
    system: str | None = Field(default=None, repr=False)
    complete: bool = Field(default=False, strict=True, repr=False)  # a text may have slipped in

    # Before pydantic's own check, whose message would quote the texts.
    @field_validator("question", mode="before")
    @classmethod
    def _read_turns(cls, question: Any) -> Any:
        if not isinstance(question, list | tuple):
            return question
        return tuple(_read_turn(place, turn) for place, turn in enumerate(question))

    @field_validator("question")
    @classmethod
    def _has_a_user_message(cls, question: str | tuple[ChatMessage, ...]) -> Any:
        if isinstance(question, str):
            return question
        if not any(turn.role == "user" and turn.content.strip() for turn in question):
            raise EvidenceError("question has no user message with text; add what was asked.")
        if question[-1].role == "assistant":
            raise EvidenceError(
                "question ends with the assistant's message; move that answer to accepted or "
                "rejected."
            )
        return question

    @field_validator(*_TEXTS)
    @classmethod
    def _has_text(cls, text: Any, info: ValidationInfo) -> Any:
        if isinstance(text, str):
            if not text.strip():
                raise EvidenceError(
                    f"{info.field_name} is blank; give it some text or leave the example out."
                )
            check_encodable(text, str(info.field_name))
        return text

    @model_validator(mode="after")
    def _has_an_answer(self) -> Self:
        if self.accepted is None and self.rejected is None:
            raise EvidenceError("accepted and rejected are both missing; give at least one answer.")
        if self.accepted == self.rejected:
            raise EvidenceError("accepted and rejected are the same answer; leave one of them out.")
        return self

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The conversation that the answers follow."""
        turns = self.question
        if isinstance(turns, str):
            turns = (ChatMessage(role="user", content=turns),)
        if self.system is None:
            return turns
        return (ChatMessage(role="system", content=self.system), *turns)

    def __repr__(self) -> str:
        shown = ""
        for name in _TEXTS:
            if (value := getattr(self, name)) is not None:
                unit = "characters" if isinstance(value, str) else "messages"
                shown += f"{name}=<{len(value):,} {unit}>, "
        return f"{type(self).__name__}({shown}complete={self.complete})"

    __str__ = __repr__


ExampleLike = Example | Mapping[str, Any] | tuple[str, str]
"""An example, a dict of its fields, or a pair of question and accepted answer."""


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """Reads examples from a file with one JSON object on each line; blank lines are skipped.

    Args:
        path: A file in UTF-8, with lines such as
            ``{"question": "...", "accepted": "...", "rejected": "..."}``. The names are those of
            `Example`; a question may also be a list of ``{"role": ..., "content": ...}``.

    Returns:
        The examples, in the order of the lines.

    Raises:
        EvidenceError: The file cannot be read or has no examples, or a line is no example. The
            message names file, line and field, and quotes no text.
        UnknownArgumentError: A line has a name that `Example` does not have. The message contains
            the name only if it is close to a known one.
    """
    file = Path(path)
    lines = read_utf8(file, EvidenceError).split("\n")
    examples = [
        _parse_line(f"{file}, line {number}", line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not examples:
        raise EvidenceError(f"{file} has no examples; give one JSON object on each line.")
    return examples


def check_examples(examples: Any) -> Sequence[Example]:
    """Converts examples, and refuses what is no example or would count twice.

    Args:
        examples: Each an `Example`, a dict of its fields, or a pair of question and answer.

    Raises:
        EvidenceError: One of them is something else, or the same as another.
    """
    if not isinstance(examples, Iterable):
        raise EvidenceError(f"examples is a {type(examples).__name__}; give a list of Examples.")
    converted = tuple(_convert(f"examples[{i}]", example) for i, example in enumerate(examples))
    seen: dict[str, int] = {}
    for number, example in enumerate(converted):
        first = seen.setdefault(example.model_dump_json(), number)
        if first != number:
            raise EvidenceError(
                f"examples[{number}] is the same as examples[{first}], and would count twice. "
                "Leave one of them out."
            )
    return converted


def _parse_line(place: str, line: str) -> Example:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvidenceError(
            f"{place}: not JSON ({error.msg} at column {error.colno}); give one object a line."
        ) from None
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else "a number too long"
        raise EvidenceError(f"{place}: JSON that is not read ({why}).") from None
    if not isinstance(fields, dict):
        raise EvidenceError(
            f"{place}: a {type(fields).__name__}; give an object with question and accepted or "
            "rejected."
        )
    try:
        return _example_of(fields)
    except AmuletError as error:
        raise type(error)(f"{place}: {error}") from None


def _convert(place: str, given: Any) -> Example:
    if isinstance(given, Example):
        return given
    if isinstance(given, tuple) and len(given) == len(_PAIR):
        given = dict(zip(_PAIR, given, strict=True))
    if not isinstance(given, Mapping):
        raise EvidenceError(
            f"{place} is a {type(given).__name__}; give an Example, a dict of its fields, or a "
            "pair of question and accepted answer."
        )
    try:
        return _example_of(given)
    except AmuletError as error:
        raise EvidenceError(f"{place}: {error}") from None


def _example_of(fields: Mapping[Any, Any]) -> Example:
    _check_names(Example, fields)
    return Example(**fields)


def _check_names(owner: type[BaseModel], names: Iterable[Any]) -> None:
    """Refuses names that a model does not have.

    The message contains a name only if it is close to a known one: where names and texts were
    mixed up, as in ``{"my question": "my answer"}``, it is private.
    """
    known = sorted(owner.model_fields)
    unknown = [name for name in names if name not in owner.model_fields]
    if not unknown:
        return
    near = [
        f"{name!r} (did you mean {close[0]!r}?)"
        for name in unknown
        if isinstance(name, str) and (close := get_close_matches(name, known, n=1))
    ]
    shown = f"the name {', '.join(near)}" if near else "a name"
    raise UnknownArgumentError(
        f"{shown} that {owner.__name__} does not have. It has: {', '.join(known)}."
    )


def _read_turn(place: int, turn: Any) -> ChatMessage:
    if isinstance(turn, ChatMessage):
        return turn
    if not isinstance(turn, dict):
        raise EvidenceError(f"question[{place}] is a {type(turn).__name__}; give a ChatMessage.")
    try:
        _check_names(ChatMessage, turn)
        return ChatMessage(**turn)
    except UnknownArgumentError as error:
        raise EvidenceError(f"question[{place}]: {error}") from None
    except AmuletError:
        raise EvidenceError(
            f"question[{place}] is no message; give it role (system, user, assistant or tool) and "
            "content, both strings."
        ) from None
