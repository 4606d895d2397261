"""Lark expressions of llguidance for one tokenizer: markers, and text without them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens that belong to text even if they are special.
_TEXTUAL = frozenset({THINK, END_OF_THOUGHTS})


class MarkerTokens:
    """Writes markers for the grammars of one tokenizer.

    llguidance treats added tokens that look like ``<x>`` as special, whatever the tokenizer says,
    so that no quoted string and no regular expression matches them. Here they are named by ids.

    Args:
        tokenizer: A transformers tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._added = dict(tokenizer.added_tokens_decoder)
        self._ids = {token.content: token_id for token_id, token in self._added.items()}
        self._end_id = tokenizer.eos_token_id

    def is_token(self, marker: str) -> bool:
        """Whether the tokenizer has the marker as one added token."""
        return marker in self._ids

    def is_special(self, marker: str) -> bool:
        """Whether decoding with `skip_special_tokens` leaves the marker out."""
        return self.is_token(marker) and bool(self._added[self._ids[marker]].special)

    def lark(self, marker: str) -> str:
        """The expression that matches the marker."""
        return f"<[{self._ids[marker]}]>" if self.is_token(marker) else quoted(marker)

    def text_rules(self, markers: Sequence[str], *, never: str) -> str:
        """The rules of a text without some markers, whether those are tokens or spelled out.

        Args:
            markers: The markers that the text does not contain.
            never: A regular expression that no stretch of text between added tokens matches.

        Returns:
            The rules `text`, `lead` (text up to and including added tokens) and `TEXT`.
        """
        excluded = {self._ids[marker] for marker in markers if marker in self._ids} | {self._end_id}
        ids = [
            str(token_id)
            for token_id, token in sorted(self._added.items())
            if token_id not in excluded and (not token.special or token.content in _TEXTUAL)
        ]
        lead = f"lead: (TEXT <[{','.join(ids)}]>)*\n" if ids else 'lead: ""\n'
        return f"text: lead TEXT\n{lead}TEXT: /(.|\\n)*/ & ~/{never}/\n"


def quoted(text: str) -> str:
    """A text as a Lark string literal."""
    return json.dumps(text, ensure_ascii=False)


def containing(*markers: str) -> str:
    """A regular expression of texts that contain one of the markers."""
    return rf"(.|\n)*({'|'.join(map(_regex, markers))})(.|\n)*"


def _regex(marker: str) -> str:
    return re.escape(marker).replace("/", r"\/")
