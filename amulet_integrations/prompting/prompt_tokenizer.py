"""Tokenises prompts so that only the template writes control tokens.

The tokenizer itself shows which runs of a text it reads as control tokens. A run that was
escaped (see `ControlTokenEscaper`), or that is not literally a control token because the
tokenizer's normaliser made it one, is spelled out in smaller tokens, and every piece is tokenised
again until no such run is left. Where there is none, the ids are those of the whole prompt
tokenised at once, as the model knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import PromptError

from .escaping import PRIVATE_USE, ControlTokenEscaper, PromptText
from .messages import check_encodable

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedTokenizerBase

# Markers that templates write and that are no tokens: <|user|>, <<SYS>>, [/INST].
_MARKER = re.compile(r"<<?[^\s<>'\"{}]{1,40}>>?|\[/?[A-Z][A-Z_]{1,30}\]")

# Put before a piece from the middle of a text, so that no tokenizer takes it for the beginning.
_ANCHORS = ("\n", "a", ".")


class PromptTokenizer:
    """Tokenises rendered prompts so that nothing in a message becomes a control token.

    Args:
        tokenizer: A transformers tokenizer.
        source: The chat template's source and whatever else writes markers; "" for nothing.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        self._tokenizer = tokenizer
        self._source = source
        added = {
            token_id: token.content
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if _is_control(token)
        }
        self._ids = frozenset(added)
        self._strings = frozenset(added.values())
        self._literals = frozenset(string.strip() for string in added.values())
        markers = set(_MARKER.findall(source)) - self._literals
        self._markers = _any_of(markers)
        self._edges = sorted({edge for s in self._literals | markers if s for edge in s[0] + s[-1]})

    def is_special(self, text: str) -> bool:
        """Whether a text is a token that decoding with `skip_special_tokens` leaves out."""
        tokens = self._tokenizer.added_tokens_decoder.values()
        return any(token.content == text and token.special for token in tokens)

    @cached_property
    def leading_ids(self) -> list[int]:
        """The ids that the tokenizer itself puts before a text (BOS), if any."""
        bare = self._ids_of("a")
        whole = list(self._tokenizer("a", add_special_tokens=True)["input_ids"])
        return next(
            (whole[:at] for at in range(len(whole)) if whole[at : at + len(bare)] == bare), []
        )

    @cached_property
    def leading_text(self) -> str:
        """The text of `leading_ids`."""
        return "".join(self._tokenizer.convert_ids_to_tokens(self.leading_ids))

    def count(self, text: str) -> int:
        """How many tokens a text has by itself; control tokens in it count as one."""
        return len(self._ids_of(text.encode(errors="replace").decode()))

    def escaper(self, contents: Iterable[str]) -> ControlTokenEscaper:
        """Escapes these contents for this tokenizer and template."""
        return ControlTokenEscaper(self._edges, [self._source, *contents])

    def encode_literal(self, text: str) -> list[int]:
        """Tokenises a text in which nothing is a control token.

        Raises:
            PromptError: The text contains a single character that is a control token.
        """
        return self.encode(PromptText(text, b"\1" * len(text)))

    def encode(self, prompt: PromptText) -> list[int]:
        """Tokenises a rendered prompt, without the special tokens that the tokenizer adds.

        Args:
            prompt: The prompt, with the escaping of its messages undone.

        Returns:
            Token ids; each control token among them was written by the template.

        Raises:
            PromptError: A message contains a single character that is a control token.
        """
        return self._encode(prompt, {}, at_start=True)

    def _encode(
        self, piece: PromptText, known: dict[PromptText, list[int]], *, at_start: bool
    ) -> list[int]:
        """Tokenises a piece, cut where needed; `known` holds the ids of pieces done before."""
        if not at_start and piece in known:
            return known[piece]
        ids, offsets = self._tokenise(piece.text) if at_start else self._tokenise_inside(piece.text)
        cuts = self._cuts(piece, ids, offsets)
        if cuts:
            ids = self._cut_up(piece, cuts, known, at_start=at_start)
        if not at_start:
            known[piece] = ids
        return ids

    def _cut_up(
        self,
        piece: PromptText,
        cuts: set[int],
        known: dict[PromptText, list[int]],
        *,
        at_start: bool,
    ) -> list[int]:
        ends = {0, len(piece.text)}
        if cuts <= ends:
            raise PromptError(
                f"{piece.text!r} is a control token of this model and cannot be written as text. "
                "Remove it from the messages and the preference."
            )
        out: list[int] = []
        for start, end in pairwise(sorted(cuts | ends)):
            out += self._encode(piece.part(start, end), known, at_start=at_start and start == 0)
        return out

    def _cuts(self, piece: PromptText, ids: list[int], offsets: list[tuple[int, int]]) -> set[int]:
        """Where to cut what reads as a control token or marker that the template did not write.

        A cut after the first character is enough for a control token that stands there literally.
        Anything else is cut after every character.
        """
        cuts: set[int] = set()
        for token_id, (start, end) in zip(ids, offsets, strict=True):
            if token_id not in self._ids:
                continue
            if piece.text[start:end].strip() not in self._literals:
                if token_id != self._unknown_id:
                    cuts.update(range(start, end + 1))
            elif any(piece.escaped[start:end]):
                cuts.update((start, start + 1, end))
        for match in self._markers.finditer(piece.text):
            start, end = match.span()
            if any(piece.escaped[start:end]):
                cuts.update(range(start, end + 1))
        return cuts

    @cached_property
    def _unknown_id(self) -> int | None:
        """The id of characters that are not in the vocabulary, if there can be any."""
        unknown = self._tokenizer.unk_token_id
        return unknown if unknown in self._ids_of(chr(PRIVATE_USE[-1])) else None

    def _tokenise_inside(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokenises a piece from the middle of a text, without the space that some put in front."""
        for anchor, before in self._anchors:
            ids, offsets = self._tokenise(anchor + text)
            if ids[: len(before)] == before:
                shift, inside = len(anchor), offsets[len(before) :]
                inside = [(max(start - shift, 0), end - shift) for start, end in inside]
                return ids[len(before) :], inside
        return self._tokenise(text)

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        return [(anchor, self._ids_of(anchor)) for anchor in _ANCHORS]

    def _tokenise(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text and, for each, the stretch of the text that it stands for."""
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            return list(encoded["input_ids"]), list(encoded["offset_mapping"])
        # Tokenizers in Python give no offsets, but they too split the text at added tokens first.
        ids, offsets, start = list[int](), list[tuple[int, int]](), 0
        for part in self._any_string.split(text):
            if part:
                part_ids = self._ids_of(part)
                ids += part_ids
                offsets += [(start, start + len(part))] * len(part_ids)
                start += len(part)
        return ids, offsets

    @cached_property
    def _any_string(self) -> re.Pattern[str]:
        return re.compile(f"({_any_of(self._strings).pattern})")

    def _ids_of(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def plain_token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token ids of a text as the tokenizer itself reads it, for counting.

    Raises:
        PromptError: The text contains half of a surrogate pair.
    """
    check_encodable(text, "text")
    return cast("list[int]", tokenizer.encode(text, add_special_tokens=False))


def _is_control(token: AddedToken) -> bool:
    """Whether an added token is more than plain text, such as spaces or one character."""
    content = token.content.replace("▁", " ").strip()
    return bool(content) and (token.special or len(content) > 1)


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
