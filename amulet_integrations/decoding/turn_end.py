"""Finds the token that ends an assistant's turn, which need not be the checkpoint's eos.

Chat templates are programs, so the token is found by trying: a tiny conversation is rendered, and
what stands right after the assistant's words ends the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedTokenizerBase

_ANSWER, _NEXT = "sentinelanswer", "sentinelnext"
_QUESTION = ("user", "sentinelquestion")


def turn_end_token(
    tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None
) -> int | None:
    """Finds the token that a chat template writes to end an assistant's turn.

    Only special tokens and other added markers such as ``<|end|>`` end a turn. A template that
    writes none after an answer may still open the user's turn with one. That token counts then: a
    model that writes it has finished its answer.

    Args:
        tokenizer: A transformers tokenizer.
        chat_template: The source of a template; by default the tokenizer's own.

    Returns:
        The token's id; None if there is no template, or if it writes no such token.
    """
    if not chat_template and not getattr(tokenizer, "chat_template", None):
        return None
    markers = {
        token.content.strip(): token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if _is_marker(token)
    }
    answer = ("assistant", _ANSWER)
    alone = _render(tokenizer, chat_template, [_QUESTION, answer])
    followed = _render(tokenizer, chat_template, [_QUESTION, answer, ("user", _NEXT)])
    at_end = _first_marker(_after(alone, _ANSWER), markers)
    inside = _first_marker(_after(followed, _ANSWER).partition(_NEXT)[0], markers)
    # A template that always opens an assistant's turn at its end does not show there how one ends.
    opened = _render(tokenizer, chat_template, [_QUESTION, answer], add_generation_prompt=True)
    end = inside if followed and alone == opened else at_end or inside
    return None if end is None else markers[end]


def _render(
    tokenizer: PreTrainedTokenizerBase,
    chat_template: str | None,
    turns: Sequence[tuple[str, str]],
    *,
    add_generation_prompt: bool = False,
) -> str:
    """A rendered conversation; "" if the template refuses it."""
    try:
        rendered = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns],
            chat_template=chat_template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except Exception:  # noqa: BLE001 - templates raise whatever they like
        return ""
    return str(rendered)


def _after(rendered: str, words: str) -> str:
    return rendered.partition(words)[2]


def _first_marker(text: str, markers: dict[str, int]) -> str | None:
    """The marker that a text begins with, after white space."""
    text = text.lstrip()
    return max((marker for marker in markers if text.startswith(marker)), key=len, default=None)


def _is_marker(token: AddedToken) -> bool:
    """Whether an added token is more than text: words and white space may be added, too."""
    content = token.content.strip()
    looks_like_one = len(content) > 1 and not (content[0].isalnum() or content[-1].isalnum())
    return bool(content) and (token.special or looks_like_one)
