"""Keeps control tokens that people type as text, and the template's own as control tokens.

Whether a control token in a rendered prompt is the template's or came out of a message cannot be
told from the text alone. So messages are rendered in disguise: the first and the last character of
every control token (in practice `<`, `>`, `[`, `]`) are exchanged, one for one, for private-use
characters that occur nowhere in the conversation or the template. The template thus sees contents
of the same length, with the same words and spaces, and treats them as ever; taking the disguise
off afterwards gives the very text that it would have rendered. Strings in tools, calls, results
and schemas wear the same disguise, whoever writes them as JSON.

The argument for safety: a run of text that is read as a control token and takes characters from
a message begins or ends inside that message, so its first or last character was in disguise. (The
one exception would be a template that writes the two ends of a token around a whole message.) The
tokenizer itself says which runs it reads as control tokens, and where. A run that was in disguise,
or that is not literally a control token (the tokenizer's normaliser made it one), is spelled out
in smaller tokens, and every piece is read again until no such run is left. Where there is none,
the ids are those of the whole prompt read at once, as the model knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from amulet_integrations.errors import PromptError

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedTokenizerBase

# What templates write as markers without their being tokens: <|user|>, <<SYS>>, [/INST].
_MARKER = re.compile(r"<<?[^\s<>'\"{}]{1,40}>>?|\[/?[A-Z][A-Z_]{1,30}\]")

_PRIVATE_USE = range(0xF0000, 0xFFFFE)

# What JSON writes as an escape.
_ESCAPED = frozenset([*range(0x20), *map(ord, '"\\')])

# Words that templates look for in the schemas of tools.
_SCHEMA_WORDS = frozenset(
    {
        *("type", "properties", "required", "items", "enum", "description", "title", "default"),
        *("anyOf", "oneOf", "allOf"),
        *("object", "array", "string", "number", "integer", "boolean", "null"),
    }
)

# Read before a piece from the middle of a text, so that no tokenizer takes it for the beginning.
_ANCHORS = ("\n", "a", ".")


class Span(NamedTuple):
    """A stretch of a text, from `start` up to `end`, and whether to spell every character."""

    start: int
    end: int
    by_character: bool


class Text(NamedTuple):
    """A prompt or a piece of one, with a byte for each character: 1 where it was in disguise."""

    text: str
    disguised: bytes

    def part(self, start: int, end: int) -> Text:
        """The piece from `start` up to `end`."""
        return Text(self.text[start:end], self.disguised[start:end])

    def ends_with(self, marker: str) -> bool:
        """Whether the last that was not in disguise, but for white space, is this marker."""
        end = len(self.text.rstrip())
        start = end - len(marker)
        return self.text[:end].endswith(marker) and not any(self.disguised[start:end])


class Disguise:
    """What stands for the characters of control tokens while messages are rendered.

    Args:
        aliases: For each character (its code point) the one that stands for it.
    """

    def __init__(self, aliases: Mapping[int, int]) -> None:
        self._aliases = aliases
        self._json_aliases = {
            original: alias for original, alias in aliases.items() if original not in _ESCAPED
        }
        self._originals = {alias: original for original, alias in aliases.items()}

    def put_on(self, content: str) -> str:
        """A message in disguise."""
        return content.translate(self._aliases)

    def put_on_json(self, value: Any) -> Any:
        """JSON with every string in it, and every name of an object, in disguise.

        What JSON escapes stays as it is, or whoever writes the JSON would not escape it.
        """
        if isinstance(value, str):
            return value if value in _SCHEMA_WORDS else value.translate(self._json_aliases)
        if isinstance(value, dict):
            return {self.put_on_json(name): self.put_on_json(held) for name, held in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.put_on_json(held) for held in value]
        return value

    def take_off(self, rendered: str) -> Text:
        """The prompt that was rendered from messages in disguise."""
        disguised = bytes(ord(char) in self._originals for char in rendered)
        return Text(rendered.translate(self._originals), disguised)


def strings_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names included.

    Raises:
        PromptError: Something in it is no JSON.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from strings_in(held)
    elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
        yield from value
        for held in value.values():
            yield from strings_in(held)
    elif value is not None and not isinstance(value, (bool, int, float)):
        names = " with names that are no strings" if isinstance(value, dict) else ""
        what = type(value).__name__ + names
        raise PromptError(
            f"A tool, a call, a schema or a template's argument holds a {what}, which JSON cannot "
            "say. Make it of dicts with string names, lists, strings, numbers, booleans and None."
        )


class ControlTokens:
    """Tokenises rendered prompts so that messages give no control tokens.

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
        """Whether a text is a token that decoding leaves out unless told otherwise."""
        tokens = self._tokenizer.added_tokens_decoder.values()
        return any(token.content == text and token.special for token in tokens)

    @cached_property
    def leading_ids(self) -> list[int]:
        """The ids that the tokenizer puts before a text by itself (BOS), if any."""
        bare = self._ids_of("a")
        whole = list(self._tokenizer("a", add_special_tokens=True)["input_ids"])
        return next(
            (whole[:at] for at in range(len(whole)) if whole[at : at + len(bare)] == bare), []
        )

    @cached_property
    def leading_text(self) -> str:
        """How `leading_ids` are written in a text."""
        return "".join(self._tokenizer.convert_ids_to_tokens(self.leading_ids))

    def count(self, text: str) -> int:
        """How many tokens a text has by itself; control tokens in it count as one."""
        return len(self._ids_of(text.encode(errors="replace").decode()))

    def disguise(self, contents: Iterable[str]) -> Disguise:
        """Chooses characters that occur nowhere in these contents or in the template."""
        taken = set(self._source).union(*contents)
        free = (code for code in _PRIVATE_USE if chr(code) not in taken)
        return Disguise(dict(zip(map(ord, self._edges), free, strict=False)))

    def encode(self, prompt: Text) -> list[int]:
        """Tokenises a rendered prompt, without the tokenizer's own special tokens.

        Args:
            prompt: The prompt, its messages out of disguise.

        Returns:
            Token ids; each control token among them is one that the template wrote.

        Raises:
            PromptError: A message holds a single character that is a control token.
        """
        return self._encode(prompt, {}, at_start=True)

    def _encode(self, piece: Text, known: dict[Text, list[int]], *, at_start: bool) -> list[int]:
        """Reads a piece, cutting it where needed; `known` spares reading like pieces again."""
        if not at_start and piece in known:
            return known[piece]
        ids, offsets = self._read(piece.text) if at_start else self._read_inside(piece.text)
        spans = self._from_messages(piece, ids, offsets)
        if spans:
            ids = self._cut_up(piece, spans, known, at_start=at_start)
        if not at_start:
            known[piece] = ids
        return ids

    def _cut_up(
        self, piece: Text, spans: list[Span], known: dict[Text, list[int]], *, at_start: bool
    ) -> list[int]:
        cuts = _cuts(spans, len(piece.text))
        if len(cuts) == 2:  # noqa: PLR2004 - nothing but the piece's two ends
            raise PromptError(
                f"{piece.text!r} is a control token of this model and cannot be written as text. "
                "Remove it from the messages and the preference."
            )
        out: list[int] = []
        for start, end in pairwise(cuts):
            out += self._encode(piece.part(start, end), known, at_start=at_start and start == 0)
        return out

    def _from_messages(
        self, piece: Text, ids: list[int], offsets: list[tuple[int, int]]
    ) -> list[Span]:
        """Where the text reads as control tokens or markers that the template did not write."""
        spans = []
        for token_id, (start, end) in zip(ids, offsets, strict=True):
            if token_id not in self._ids:
                continue
            literal = piece.text[start:end].strip() in self._literals
            if not literal and token_id == self._unknown_id:
                continue
            if not literal or any(piece.disguised[start:end]):
                spans.append(Span(start, end, by_character=not literal))
        markers = (match.span() for match in self._markers.finditer(piece.text))
        spans += [
            Span(start, end, by_character=True)
            for start, end in markers
            if any(piece.disguised[start:end])
        ]
        return spans

    @cached_property
    def _unknown_id(self) -> int | None:
        """The id of characters that the vocabulary lacks, where there are any such."""
        unknown = self._tokenizer.unk_token_id
        return unknown if unknown in self._ids_of(chr(_PRIVATE_USE[-1])) else None

    def _read_inside(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Reads a piece from the middle of a text: without the space that some put in front."""
        for anchor, before in self._anchors:
            ids, offsets = self._read(anchor + text)
            if ids[: len(before)] == before:
                shift, inside = len(anchor), offsets[len(before) :]
                inside = [(max(start - shift, 0), end - shift) for start, end in inside]
                return ids[len(before) :], inside
        return self._read(text)

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        return [(anchor, self._ids_of(anchor)) for anchor in _ANCHORS]

    def _read(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text and, for each, the stretch of text that it was read from."""
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            return list(encoded["input_ids"]), list(encoded["offset_mapping"])
        # Tokenizers in Python give no offsets, but they too part the text at added tokens first.
        ids, offsets, start = list[int](), list[tuple[int, int]](), 0
        for part in self._any_string.split(text):
            if part:
                read = self._ids_of(part)
                ids += read
                offsets += [(start, start + len(part))] * len(read)
                start += len(part)
        return ids, offsets

    @cached_property
    def _any_string(self) -> re.Pattern[str]:
        return re.compile(f"({_any_of(self._strings).pattern})")

    def _ids_of(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _cuts(spans: Iterable[Span], length: int) -> list[int]:
    """Where to cut a text: around every span, and after its first character or after each."""
    cuts = {0, length}
    for start, end, by_character in spans:
        cuts.update(range(start, end) if by_character else (start, start + 1), (end,))
    return sorted(cuts)


def _is_control(token: AddedToken) -> bool:
    """Whether an added token is more than plain text: spaces (also as `▁`), or one character."""
    content = token.content.replace("▁", " ").strip()
    return bool(content) and (token.special or len(content) > 1)


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
