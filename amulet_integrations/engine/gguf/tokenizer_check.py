"""Compares a tokenizer with llama.cpp's own, so that no prompt is read as other tokens.

A file may hold a vocabulary that is not its tokenizer's, and a family may cut texts in a way that
transformers does not know. Both would spoil answers in silence.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Protocol

from amulet_integrations.errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = (
    "Hello, world! It's what we'd say; they'LL see.",
    " leading and trailing ",
    "two  three   four    spaces",
    "a\tb\n\nc\r\nd \n e",
    "\n\n\n",
    "0 7 42 365 2024 1234567 3.14159 1,000,000 ½ ² ٣٤ 10:30",
    "x = [i**2 for i in range(10)]  # squares\n\treturn {'a': x}\n",
    "https://example.org/a-b_c?d=e&f=%20 user@example.org C:\\dir",
    "!? ... --- (((a))) «b» “c” … ¿d? $5 €6 <a href='#'>",
    "camelCase snake_case SHOUTING kebab-case Straße naïve Œuvre ǅ",
    "Cửa Việt, Čeština, Türkçe İi, Ελληνικά, Привет мир",
    "中文分词测试、日本語の文章です。한국어 문장입니다",
    "שלום עולם مرحبا بالعالم हिन्दी में लिखा বাংলা தமிழ் ไทย ქართული አማርኛ",
    "🙂🚀👧🏽🇩🇪 ①② ﷽ a\u00a0b\u200bc\u3000d",
    "👩‍👩‍👧 ❤️ ☑️",
    "e\u0301 and \u00e9; a\u0308; \ufb01",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 4,
)
"""Texts of all kinds; none has the name of a token that controls a model."""

_SHOWN = 60  # characters of a text
_NEAR = 8  # tokens of a message


class TextTokenizer(Protocol):
    """What is needed of llama.cpp's tokenizer."""

    @property
    def n_vocab(self) -> int:
        """The number of token ids."""

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[int]:
        """Returns the ids of a text."""


def check_tokenizer(
    what: str,
    tokenizer: PreTrainedTokenizerBase,
    model: TextTokenizer,
    remedy: str,
    *,
    marks: bool = True,
) -> None:
    """Refuses a tokenizer that reads texts otherwise than llama.cpp does.

    Args:
        what: The model, for the message, such as "model='x.gguf'".
        tokenizer: The tokenizer.
        model: llama.cpp's, with the vocabulary of the file.
        remedy: What to do.
        marks: Whether texts with combining marks are compared; see `PreTokenizer`.

    Raises:
        UnsupportedModelError: The sizes of the vocabularies differ, or the ids of a text or of a
            token that controls the model; the message has the first that does.
    """
    # A file may have tokens that no text is read as; they fill its table up.
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= model.n_vocab:
        raise UnsupportedModelError(
            f"{what} has {model.n_vocab:,} tokens, and its tokenizer has the token {highest:,}. "
            f"{remedy}"
        )
    for text in SAMPLE:
        if not marks and has_marks(text):
            continue
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        _compare(what, text, list(ids), model.tokenize(text, parse_special=False), remedy)
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special:
            found = model.tokenize(token.content, parse_special=True)
            _compare(what, token.content, [token_id], found, remedy)


def has_marks(text: str) -> bool:
    """Whether a text has combining marks, such as the vowels of Hindi."""
    return any(unicodedata.category(character).startswith("M") for character in text)


def _compare(what: str, text: str, ids: list[int], expected: list[int], remedy: str) -> None:
    if ids == expected:
        return
    pairs = zip(ids, expected, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), 0)
    shown = slice(place, place + _NEAR)
    raise UnsupportedModelError(
        f"{what} reads {text[:_SHOWN]!r} as the tokens {ids[shown]} from token {place} on, and "
        f"llama.cpp as {expected[shown]}. {remedy}"
    )
