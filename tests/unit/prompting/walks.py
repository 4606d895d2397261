"""Texts of a grammar: whether one is, and random ones, token by token through the mask."""

from __future__ import annotations

import random

import numpy as np
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from tests.support.tiny import tiny_tokenizer

VOCABULARY = 640
LONGEST = 4000
FREELY = 60  # tokens after which a walk makes for the end


class Walker:
    """Walks through grammars with one tokenizer."""

    def __init__(self, tokenizer=None):
        self.tokenizer = tokenizer or tiny_tokenizer()
        self._ll = from_tokenizer(
            self.tokenizer, n_vocab=VOCABULARY, eos_token=[self.tokenizer.eos_token_id]
        )

    def matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._ll, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def accepts(self, grammar: str, text: str) -> bool:
        """Whether the text, as this tokenizer reads it, may be a whole answer."""
        return self.accepts_ids(grammar, self.tokenizer(text, add_special_tokens=False).input_ids)

    def accepts_ids(self, grammar: str, ids: list[int]) -> bool:
        matcher = self.matcher(grammar)
        return (
            matcher.validate_tokens(ids) == len(ids)
            and matcher.consume_tokens(ids)
            and matcher.is_accepting()
        )

    def walk(self, grammar: str, seed: int, *, begun: str = "") -> str:
        """A random text of the grammar that begins in a given way."""
        matcher, rng = self.matcher(grammar), random.Random(seed)
        ids = list(self.tokenizer(begun, add_special_tokens=False).input_ids)
        assert matcher.consume_tokens(ids)
        while not matcher.is_accepting() or (len(ids) < FREELY and rng.random() < 0.8):
            allowed = self._allowed(matcher)
            if not allowed:
                break
            ids.append(self._choice(allowed, rng, len(ids)))
            assert matcher.consume_token(ids[-1])
            assert len(ids) < LONGEST, "the walk does not end"
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _allowed(self, matcher: LLMatcher) -> list[int]:
        bits = allocate_token_bitmask(1, VOCABULARY)
        fill_next_token_bitmask(matcher, bits)
        mask = np.unpackbits(bits.view(np.uint8), bitorder="little", count=VOCABULARY)
        return [int(i) for i in np.flatnonzero(mask) if i != self.tokenizer.eos_token_id]

    def _choice(self, allowed: list[int], rng: random.Random, length: int) -> int:
        """Any token; one that closes something rather more often, and always near the end."""
        closing = [token for token in allowed if self._piece(token) in {'"', "}", "]"}]
        if closing and (length > FREELY or rng.random() < 0.2):
            return rng.choice(closing)
        return rng.choice(allowed)

    def _piece(self, token: int) -> str:
        return self.tokenizer.decode([token])
