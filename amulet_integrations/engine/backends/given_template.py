"""A chat template that a caller gives in place of the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.files import read_utf8, with_home

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ENDINGS = (".jinja", ".jinja2", ".j2")


def given_template(chat_template: str) -> str:
    """The source of a template, which is given itself or by the path of its file.

    Raises:
        InvalidParamsError: It is empty, its file cannot be read, or it is neither a template nor
            the path of one.
    """
    if chat_template.strip().endswith(_ENDINGS) and "\n" not in chat_template.strip():
        return read_utf8(Path(with_home(chat_template.strip())), InvalidParamsError)
    if "{" not in chat_template:
        raise InvalidParamsError(
            f"chat_template={chat_template!r:.80} is no template. Give its text, or the path of a "
            f"file that ends in {_ENDINGS[0]}.",
            param="chat_template",
        )
    return chat_template


def use_given_template(tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> None:
    """Makes a template that was given the tokenizer's own; None changes nothing.

    Raises:
        InvalidParamsError: As `given_template`.
    """
    if chat_template is not None:
        tokenizer.chat_template = given_template(chat_template)
