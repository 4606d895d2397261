"""Grammars for one tokenizer, by llguidance: which tokens may come next."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fork_safe import reset_in_child
from amulet_integrations.concurrency.user_turns import UserTurns
from amulet_integrations.engine.worker import SteppedWork, run_in_turns
from amulet_integrations.errors import AmuletError, UnsupportedGrammarError, UnsupportedModelError

from .grammar_trial import needs_trial, try_out
from .kept_grammars import CompiledGrammar, GrammarEntry, KeptGrammars
from .shortest_completion import Search, TokenTable, steps_to_best_completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

# Of the processor's time, for all that are kept. llguidance does not say what its automata
# take, but only work makes them: up to 100 MB were made in a second.
_MAX_SECONDS_KEPT = 8.0
_MAX_COMPLETION = 4096  # tokens; a grammar that needs more counts as endless
_SECONDS_OF_A_SEARCH = 2.0  # of the processor's time
_SECONDS_OF_A_STEP = 0.5  # the same; while decoding, a step like this would hold everybody up
_FUEL = 200_000  # of llguidance, to read all patterns of a grammar; it takes 40 ms at most
_DOING = "while its schema or grammar was compiled"
_FIRST_STEPS = 8  # llguidance gives up within so many tokens on a grammar that is too large


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
        self._limits = LLParserLimits(initial_lexer_fuel=_FUEL)
        self.reset()
        reset_in_child(self)

    def compile(
        self, grammar: str, deadline: Deadline | None = None, user_id: str | None = None
    ) -> CompiledGrammar:
        """Compiles a grammar, or returns it as it was compiled before.

        What was refused stays refused, so that a hostile grammar takes its time only once.

        Args:
            grammar: The grammar.
            deadline: Until when it may take; None for no end. Another request for it goes on where
                this one ended.
            user_id: The user whose request it is; None for nobody in particular. Users take turns.

        Raises:
            UnsupportedGrammarError: llguidance cannot read it, no text satisfies it, or that takes
                too long to find out.
            UnsupportedModelError: llguidance cannot read the tokenizer.
            RequestTimeoutError: The deadline has passed.
            RequestCancelledError: The request was cancelled.
        """
        deadline = deadline or Deadline()
        entry = self._kept.entry_of(grammar)
        with deadline.holding(entry.lock, _DOING):
            if entry.outcome is None:
                try:
                    entry.outcome = self._outcome(grammar, entry, deadline, user_id)
                    entry.forget_work()
                    self._kept.bound_compiled(entry, most_seconds=_MAX_SECONDS_KEPT)
                finally:
                    self._kept.bound_unfinished(entry)
            outcome = entry.outcome
        if isinstance(outcome, CompiledGrammar):
            return outcome
        error_type, message = outcome
        raise error_type(message)

    def reset(self) -> None:
        """Forgets all grammars. In a forked child, nobody would free locks that are held."""
        self._tokenizer_lock = threading.Lock()
        self._long_steps = UserTurns()
        self._kept = KeptGrammars()

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

    def _outcome(
        self, grammar: str, entry: GrammarEntry, deadline: Deadline, user_id: str | None
    ) -> CompiledGrammar | tuple[type[AmuletError], str]:
        """The grammar or its error, which is kept too: to find it again would take as long."""
        try:
            return self._compile(grammar, entry, deadline, user_id)
        except (UnsupportedGrammarError, UnsupportedModelError) as error:
            return type(error), str(error)

    def _compile(
        self, grammar: str, entry: GrammarEntry, deadline: Deadline, user_id: str | None
    ) -> CompiledGrammar:
        check = partial(deadline.check, _DOING)
        with self._tokenizer_lock:
            _ = self.table
        if entry.matcher is None or entry.search is None:
            if needs_trial(grammar):
                try_out(grammar, _FUEL, check, user_id)
            with self._long_steps.take(check, user_id):
                start = time.thread_time()
                entry.matcher = LLMatcher(
                    self._ll_tokenizer, grammar, log_level=0, limits=self._limits
                )
                entry.seconds = time.thread_time() - start
                if not entry.matcher.is_error():  # the first step prepares the others
                    entry.seconds += _timed(self.table.allowed_tokens, entry.matcher.deep_copy())
            steps = steps_to_best_completion(entry.matcher, self.table, limit=_MAX_COMPLETION)
            entry.search = SteppedWork(_within_bounds(steps, entry))
        if entry.matcher.is_error():
            raise UnsupportedGrammarError(
                f"The grammar cannot be enforced: {first_line(entry.matcher.get_error())} Change "
                "the schema (or the grammar) so that it does without."
            )
        completion = run_in_turns(entry.search, check, user_id)
        if completion is None:
            with self._long_steps.take(check, user_id):
                reason = self._limit_hit(entry.matcher)
            raise UnsupportedGrammarError(
                f"No text of at most {_MAX_COMPLETION} tokens was found that satisfies the "
                "grammar: a schema that needs itself for ever, a pattern and a length that do not "
                "fit, or a pattern whose end is hard to find (such as ^.*word$). Give it an end."
                f"{reason}"
            )
        return CompiledGrammar(self.table, entry.matcher, tuple(completion))

    def _limit_hit(self, matcher: LLMatcher) -> str:
        """The reason of llguidance where it gives up on a grammar at its very beginning."""
        matcher = matcher.deep_copy()
        for _ in range(_FIRST_STEPS):
            forced = matcher.compute_ff_tokens()[:_FIRST_STEPS]
            for token in forced or np.flatnonzero(self.table.allowed_tokens(matcher))[:1]:
                matcher.consume_token(int(token))
            if matcher.is_error():
                reason = first_line(matcher.get_error())
                return f" Or simplify it, for llguidance gave up: {reason}"
        return ""


def _within_bounds(search: Search, entry: GrammarEntry) -> Search:
    """The same search, noted at its grammar; it ends with an error where it takes too long."""
    spent = 0.0
    while True:
        try:
            took = _timed(next, search)
        except StopIteration as end:
            return cast("list[int] | None", end.value)
        spent += took
        entry.seconds += took
        if spent > _SECONDS_OF_A_SEARCH:
            raise _takes_too_long(spent)
        yield


def _timed(step: Callable[[T], object], argument: T) -> float:
    """Takes one step and returns the seconds of the processor's time that it took."""
    start = time.thread_time()
    step(argument)
    took = time.thread_time() - start
    if took > _SECONDS_OF_A_STEP:
        raise _takes_too_long(took)
    return took


def _takes_too_long(spent: float) -> UnsupportedGrammarError:
    return UnsupportedGrammarError(
        f"The grammar takes too long: how it can end was not found after {spent:.1f} s. Simplify "
        "the schema: fewer alternatives, shorter repetitions in patterns, an end to what contains "
        "itself."
    )


def first_line(message: str) -> str:
    """The first line of an error of llguidance, as a sentence."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "llguidance does not say why."
    line = lines[0] if not lines[0].endswith(":") else f"{lines[0]} {lines[-1]}"
    return line if line.endswith(".") else line + "."
