"""Judges prompts on their token ids: what is a control token, and the text between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

Piece = int | str


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[Piece]:
    """The ids of control tokens, as they are, and the texts between them."""
    added = tokenizer.added_tokens_decoder
    found: list[Piece] = []
    for is_control, run in groupby(ids, lambda token_id: token_id in added):
        if is_control:
            found += run
        else:
            found.append(tokenizer.decode(list(run)))
    return found


def control_ids(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The ids of control tokens alone."""
    return [piece for piece in pieces(tokenizer, ids) if isinstance(piece, int)]


def written_into(calm: Iterable[Piece], words: Mapping[str, str]) -> list[Piece]:
    """The pieces of a calm prompt, with other words in the places of its own."""
    found = list(calm)
    for word, other in words.items():
        found = [piece.replace(word, other) if isinstance(piece, str) else piece for piece in found]
    return found


def alone(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]) -> list[Piece]:
    """The pieces of a conversation as the template alone writes it, read by transformers."""
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns],
        tokenize=False,
        add_generation_prompt=True,
    )
    return pieces(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
