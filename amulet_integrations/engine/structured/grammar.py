"""Grammars for one tokenizer, by llguidance: which tokens may come next."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.engine.structured.shortest_completion import (
    TokenTable,
    shortest_completion,
)
from amulet_integrations.errors import AmuletError, UnsupportedGrammarError, UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEPT = 128  # compiled grammars
_LONGEST_WAY = 4096  # tokens after which a grammar counts as one that has no end
_BEGINNING = 8  # steps after which one that is too large has shown it


@dataclass(frozen=True)
class CompiledGrammar:
    """A grammar at its beginning.

    Attributes:
        matcher: llguidance's state; to be copied, not changed.
        home: Tokens of a short text that satisfies the grammar.
    """

    matcher: LLMatcher
    home: tuple[int, ...]


class _Reading:
    """A grammar that is read once, by whoever asks first; others wait for no grammar but theirs.

    What is wrong with it is remembered too, so that nobody finds out twice at the same cost.
    """

    def __init__(self, read: Callable[[str], CompiledGrammar], grammar: str) -> None:
        self._read = read
        self._grammar = grammar
        self._lock = threading.Lock()
        self._compiled: CompiledGrammar | None = None
        self._error: tuple[type[AmuletError], str] | None = None

    def outcome(self) -> CompiledGrammar:
        with self._lock:
            if self._error:
                error_type, message = self._error
                raise error_type(message)
            if self._compiled is None:
                try:
                    self._compiled = self._read(self._grammar)
                except AmuletError as error:
                    self._error = type(error), str(error)
                    raise
            return self._compiled


class GrammarCompiler:
    """Reads grammars for one model; safe to be called from any thread.

    Args:
        tokenizer: The model's tokenizer.
        vocab_size: Length of the model's logits; the tokenizer may know fewer tokens.
        end_ids: Tokens that end the text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, vocab_size: int, end_ids: frozenset[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._end_ids = sorted(end_ids)
        self._lock = threading.Lock()  # for reading the tokenizer
        self._known = lru_cache(maxsize=_KEPT)(partial(_Reading, self._compiled))

    def compile(self, grammar: str) -> CompiledGrammar:
        """Reads a grammar, or remembers it.

        Raises:
            UnsupportedGrammarError: llguidance cannot read it, or no text satisfies it.
            UnsupportedModelError: llguidance cannot read the tokenizer.
        """
        return self._known(grammar).outcome()

    def prepare(self) -> None:
        """Reads the tokenizer now, which keeps Python busy for up to seconds, and not later.

        Tokenizers that cannot be read are no error here: many requests have no grammar.
        """
        with contextlib.suppress(UnsupportedModelError), self._lock:
            _ = self.alphabet

    def allowed(self, matcher: LLMatcher) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab_size,)."""
        bits = allocate_token_bitmask(1, self._vocab_size)
        fill_next_token_bitmask(matcher, bits)
        unpacked = np.unpackbits(bits.view(np.uint8), bitorder="little", count=self._vocab_size)
        return unpacked.view(np.bool_)

    def bytes_of(self, token: int) -> bytes:
        """What a token writes."""
        return self.alphabet.pieces[token]

    def text_of(self, token: int) -> str:
        """A token's text, that of special tokens too."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False))

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text in which control tokens are meant as such."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def any_text(self) -> NDArray[np.bool_]:
        """Every token but those that end the text, shape (vocab_size,)."""
        mask = np.ones(self._vocab_size, dtype=np.bool_)
        mask[self._end_ids] = False
        return mask

    def shortest_completion(
        self, matcher: LLMatcher, cursor: JsonCursor, limit: int, known: Sequence[int] = ()
    ) -> list[int] | None:
        """`shortest_completion` with this vocabulary: None where it has over `limit` tokens."""
        return shortest_completion(
            matcher, cursor, self.alphabet, self.allowed, limit=limit, known=known
        )

    @cached_property
    def alphabet(self) -> TokenTable:
        """What each token writes."""
        tokenizer = self._ll_tokenizer
        return TokenTable([tokenizer.decode_bytes([token]) for token in range(self._vocab_size)])

    @cached_property
    def _ll_tokenizer(self) -> LLTokenizer:
        if not self._end_ids:
            raise UnsupportedModelError(
                "The model has no token that ends a text, so tools and structured output cannot be "
                "enforced. Give its tokenizer or its generation config an end-of-text token."
            )
        try:
            return from_tokenizer(
                cast("Any", self._tokenizer), n_vocab=self._vocab_size, eos_token=self._end_ids
            )
        except Exception as error:  # a Rust library's ways to say no are many
            raise UnsupportedModelError(
                f"llguidance cannot read the tokenizer {type(self._tokenizer).__name__}, so tools "
                "and structured output cannot be enforced with this model. Use a model with a "
                f"fast tokenizer. ({error})"
            ) from error

    def _compiled(self, grammar: str) -> CompiledGrammar:
        with self._lock:
            _ = self.alphabet
        matcher = LLMatcher(self._ll_tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UnsupportedGrammarError(
                f"The grammar cannot be enforced: {first_line(matcher.get_error())} Change the "
                "schema (or the grammar) so that it does without."
            )
        home = None
        shorter = self.shortest_completion(matcher, JsonCursor(), _LONGEST_WAY)
        while shorter is not None:
            home = shorter
            shorter = (
                self.shortest_completion(matcher, JsonCursor(), len(home) - 1) if home else None
            )
        if home is None:
            raise UnsupportedGrammarError(
                f"No text of at most {_LONGEST_WAY} tokens was found that satisfies the grammar: "
                "a schema that needs itself for ever, a pattern and a length that do not fit, or "
                "a pattern whose end is hard to find (such as ^.*word$). Give it an end."
                f"{self._limit_hit(grammar)}"
            )
        return CompiledGrammar(matcher, tuple(home))

    def _limit_hit(self, grammar: str) -> str:
        """What llguidance says where it gives up on a grammar at its very beginning."""
        matcher = LLMatcher(self._ll_tokenizer, grammar, log_level=0)
        for _ in range(_BEGINNING):
            for token in matcher.compute_ff_tokens() or np.flatnonzero(self.allowed(matcher))[:1]:
                matcher.consume_token(int(token))
            if matcher.is_error():
                gist = first_line(matcher.get_error())
                return f" Or simplify it, for llguidance gave up: {gist}"
        return ""


def first_line(message: str) -> str:
    """The gist of one of llguidance's errors, as a sentence."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "llguidance does not say why."
    gist = lines[0] if not lines[0].endswith(":") else f"{lines[0]} {lines[-1]}"
    return gist if gist.endswith(".") else gist + "."
