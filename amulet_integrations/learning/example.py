"""What was asked, and which answer was liked or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from amulet_integrations.errors import AmuletError, EvidenceError
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.messages import check_encodable
from amulet_integrations.validation import FrozenModel

_TEXTS = ("question", "accepted", "rejected", "system")


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
            token, which tells much about preferences of length. Leave it off where answers may
            have been cut: an end that was none would be taken for the user's wish.

    Raises:
        EvidenceError: No answer, a blank text, two answers that are the same, or a value of the
            wrong type.
        PromptError: A text holds half of a surrogate pair.
    """

    model_config = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = EvidenceError

    question: str | tuple[ChatMessage, ...] = Field(repr=False)
    accepted: str | None = Field(default=None, repr=False)
    rejected: str | None = Field(default=None, repr=False)
    system: str | None = Field(default=None, repr=False)
    complete: bool = Field(default=False, strict=True)

    # Before pydantic's own check, whose message would quote the texts.
    @field_validator("question", mode="before")
    @classmethod
    def _read_turns(cls, question: Any) -> Any:
        if not isinstance(question, list | tuple):
            return question
        return tuple(_read_turn(place, turn) for place, turn in enumerate(question))

    @field_validator("question")
    @classmethod
    def _somebody_asks(cls, question: str | tuple[ChatMessage, ...]) -> Any:
        if isinstance(question, str):
            _check_text("question", question)
            return question
        if not any(turn.role == "user" and turn.content.strip() for turn in question):
            raise EvidenceError("question has no user message with text; add what was asked.")
        if question[-1].role == "assistant":
            raise EvidenceError(
                "question ends with the assistant's message; move that answer to accepted or "
                "rejected."
            )
        return question

    # Here too: a text may have slipped into it.
    @field_validator("complete", mode="before")
    @classmethod
    def _is_complete_or_not(cls, complete: Any) -> Any:
        if not isinstance(complete, bool):
            raise EvidenceError(f"complete is a {type(complete).__name__}; give true or false.")
        return complete

    @field_validator("accepted", "rejected", "system")
    @classmethod
    def _has_text(cls, text: str | None, info: Any) -> str | None:
        if text is not None:
            _check_text(info.field_name, text)
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
        asked = self.question
        turns = (ChatMessage(role="user", content=asked),) if isinstance(asked, str) else asked
        if self.system is None:
            return turns
        return (ChatMessage(role="system", content=self.system), *turns)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in _TEXTS:
            value = getattr(self, name)
            unit = "characters" if isinstance(value, str) else "messages"
            if value is not None:
                yield name, _Hidden(f"<{len(value):,} {unit}>")
        yield "complete", self.complete


def unknown_names(owner: type[BaseModel], names: Iterable[Any]) -> str | None:
    """Tells which names a model does not have; None where it has them all.

    A name is told only if it is close to a known one: where names and texts were mixed up, as in
    ``{"my question": "my answer"}``, it is private.
    """
    known = sorted(owner.model_fields)
    unknown = [name for name in names if name not in owner.model_fields]
    if not unknown:
        return None
    near = [
        f"{name!r} (did you mean {close[0]!r}?)"
        for name in unknown
        if isinstance(name, str) and (close := get_close_matches(name, known, n=1))
    ]
    told = f"the name {', '.join(near)}" if near else "a name"
    return f"{told} that {owner.__name__} does not have. It has: {', '.join(known)}."


ExampleLike = Example | Mapping[str, Any] | tuple[str, str]
"""An example, a dict of its fields, or a pair of question and accepted answer."""


class _Hidden(str):
    """Stands for a text, without the quotes of one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _read_turn(place: int, turn: Any) -> ChatMessage:
    if isinstance(turn, ChatMessage):
        return turn
    if not isinstance(turn, dict):
        raise EvidenceError(f"question[{place}] is a {type(turn).__name__}; give a ChatMessage.")
    if unknown := unknown_names(ChatMessage, turn):
        raise EvidenceError(f"question[{place}]: {unknown}")
    try:
        return ChatMessage(**turn)
    except AmuletError:
        raise EvidenceError(
            f"question[{place}] is no message; give it role (system, user, assistant or tool) and "
            "content, both strings."
        ) from None


def _check_text(name: str, text: str) -> None:
    if not text.strip():
        raise EvidenceError(f"{name} is blank; give it some text or leave the example out.")
    check_encodable(text, name)
