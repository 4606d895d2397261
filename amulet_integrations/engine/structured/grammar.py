"""Grammars for one tokenizer, by llguidance: which tokens may come next."""

from __future__ import annotations

import contextlib
import threading
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.errors import AmuletError, UnsupportedGrammarError, UnsupportedModelError

from .shortest_completion import TokenTable, shortest_completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_COMPILED = 128  # grammars that are kept
_MAX_COMPLETION = 4096  # tokens; a grammar that needs more counts as endless
_FIRST_STEPS = 8  # llguidance gives up within so many tokens on a grammar that is too large


@dataclass(frozen=True)
class CompiledGrammar:
    """A grammar at its beginning.

    Attributes:
        matcher: The state of llguidance; to be copied, not changed.
        shortest_completion: Tokens of a short text that satisfies the grammar.
    """

    matcher: LLMatcher
    shortest_completion: tuple[int, ...]


class GrammarCompiler:
    """Compiles grammars for one model. May be called from any thread.

    Args:
        tokenizer: The model's tokenizer.
        vocab_size: Length of the model's logits; the tokenizer may have fewer tokens.
        end_ids: Tokens that end the text.

    Attributes:
        end_ids: The same.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, vocab_size: int, end_ids: frozenset[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self.end_ids = end_ids
        self._tokenizer_lock = threading.Lock()
        # A caller waits while its own grammar is compiled by another one, but for no other grammar.
        self._lock_of = lru_cache(maxsize=_MAX_COMPILED)(lambda _grammar: threading.Lock())
        self._outcome_of = lru_cache(maxsize=_MAX_COMPILED)(self._outcome)

    def compile(self, grammar: str) -> CompiledGrammar:
        """Compiles a grammar, or returns it as it was compiled before.

        Raises:
            UnsupportedGrammarError: llguidance cannot read it, or no text satisfies it.
            UnsupportedModelError: llguidance cannot read the tokenizer.
        """
        with self._lock_of(grammar):
            outcome = self._outcome_of(grammar)
        if isinstance(outcome, CompiledGrammar):
            return outcome
        error_type, message = outcome
        raise error_type(message)

    def prepare(self) -> None:
        """Reads the tokenizer now, which keeps Python busy for up to seconds.

        A tokenizer that cannot be read is no error here, since many requests have no grammar.
        """
        with contextlib.suppress(UnsupportedModelError), self._tokenizer_lock:
            _ = self.table

    @cached_property
    def table(self) -> TokenTable:
        """The vocabulary. It is known once a grammar has been compiled."""
        tokenizer = self._ll_tokenizer
        return TokenTable([tokenizer.decode_bytes([token]) for token in range(self._vocab_size)])

    def any_text(self) -> NDArray[np.bool_]:
        """Every token except those that end the text, shape (vocab_size,)."""
        mask = np.ones(self._vocab_size, dtype=np.bool_)
        mask[list(self.end_ids)] = False
        return mask

    def text_of(self, token: int) -> str:
        """The text of a token, also of a special token."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False))

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text. Control tokens in it are meant as control tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    @cached_property
    def _ll_tokenizer(self) -> LLTokenizer:
        if not self.end_ids:
            raise UnsupportedModelError(
                "The model has no token that ends a text, so tools and structured output cannot be "
                "enforced. Give its tokenizer or its generation config an end-of-text token."
            )
        try:
            return from_tokenizer(
                cast("Any", self._with_special_ends()),
                n_vocab=self._vocab_size,
                eos_token=sorted(self.end_ids),
            )
        except Exception as error:  # a Rust library may raise anything
            raise UnsupportedModelError(
                f"llguidance cannot read the tokenizer {type(self._tokenizer).__name__}, so tools "
                "and structured output cannot be enforced with this model. Use a model with a "
                f"fast tokenizer. ({error})"
            ) from error

    def _with_special_ends(self) -> PreTrainedTokenizerBase:
        """The tokenizer with end tokens that are special; text in a grammar may hold any other."""
        added = self._tokenizer.added_tokens_decoder
        plain = [added[end] for end in self.end_ids if end in added and not added[end].special]
        if not plain or not self._tokenizer.is_fast:
            return self._tokenizer
        copy = deepcopy(self._tokenizer)
        copy.add_tokens(plain, special_tokens=True)
        return copy

    def _outcome(self, grammar: str) -> CompiledGrammar | tuple[type[AmuletError], str]:
        """The grammar or its error, which is kept too: to find it again would take as long."""
        try:
            return self._compile(grammar)
        except AmuletError as error:
            return type(error), str(error)

    def _compile(self, grammar: str) -> CompiledGrammar:
        with self._tokenizer_lock:
            _ = self.table
        matcher = LLMatcher(self._ll_tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UnsupportedGrammarError(
                f"The grammar cannot be enforced: {first_line(matcher.get_error())} Change the "
                "schema (or the grammar) so that it does without."
            )
        completion = self._best_completion(matcher)
        if completion is None:
            raise UnsupportedGrammarError(
                f"No text of at most {_MAX_COMPLETION} tokens was found that satisfies the "
                "grammar: a schema that needs itself for ever, a pattern and a length that do not "
                "fit, or a pattern whose end is hard to find (such as ^.*word$). Give it an end."
                f"{self._limit_hit(grammar)}"
            )
        return CompiledGrammar(matcher, tuple(completion))

    def _best_completion(self, matcher: LLMatcher) -> list[int] | None:
        """Searches again with a lower limit as long as a shorter completion is found."""
        best: list[int] | None = None
        limit = _MAX_COMPLETION
        while limit >= 0:
            found = shortest_completion(matcher, JsonCursor(), self.table, limit=limit)
            if found is None:
                break
            best, limit = found, len(found) - 1
        return best

    def _limit_hit(self, grammar: str) -> str:
        """The reason of llguidance where it gives up on a grammar at its very beginning."""
        matcher = LLMatcher(self._ll_tokenizer, grammar, log_level=0)
        for _ in range(_FIRST_STEPS):
            forced = matcher.compute_ff_tokens()
            for token in forced or np.flatnonzero(self.table.allowed_tokens(matcher))[:1]:
                matcher.consume_token(int(token))
            if matcher.is_error():
                reason = first_line(matcher.get_error())
                return f" Or simplify it, for llguidance gave up: {reason}"
        return ""


def first_line(message: str) -> str:
    """The first line of an error of llguidance, as a sentence."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "llguidance does not say why."
    line = lines[0] if not lines[0].endswith(":") else f"{lines[0]} {lines[-1]}"
    return line if line.endswith(".") else line + "."
