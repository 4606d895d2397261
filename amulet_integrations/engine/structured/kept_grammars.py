"""The grammars of one model that were asked for, and how much of the work on them is kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from llguidance import LLMatcher

from amulet_integrations.engine.worker import SteppedWork
from amulet_integrations.errors import AmuletError

from .shortest_completion import TokenTable

_MAX_COMPILED = 128  # grammars that are kept
_MAX_UNFINISHED = 2  # grammars that a deadline cut, with the work that was done


@dataclass(frozen=True)
class CompiledGrammar:
    """A grammar at its beginning.

    Attributes:
        table: The vocabulary.
        matcher: The state of llguidance; to be copied, not changed.
        shortest_completion: Tokens of a short text that satisfies the grammar.
    """

    table: TokenTable
    matcher: LLMatcher
    shortest_completion: tuple[int, ...]


@dataclass(eq=False)
class GrammarEntry:
    """A grammar on its way.

    Attributes:
        lock: Held by whoever compiles it. Nobody waits for another grammar than its own.
        outcome: The grammar, or the error of one that is refused; None until one is known.
        matcher: llguidance's state, once it has read the grammar.
        search: The search for a short completion, as far as it has come.
        seconds: The processor's time that its automata have taken.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    outcome: CompiledGrammar | tuple[type[AmuletError], str] | None = None
    matcher: LLMatcher | None = None
    search: SteppedWork[list[int] | None] | None = None
    seconds: float = 0.0

    def forget_work(self) -> None:
        """Frees the automata, which take up to a hundred megabytes for a large pattern."""
        self.matcher = self.search = None


class KeptGrammars:
    """The latest grammars of one model. May be called from any thread."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, GrammarEntry] = OrderedDict()  # the latest ones last
        self._entries_lock = threading.Lock()
        self._unfinished: list[GrammarEntry] = []
        self._unfinished_lock = threading.Lock()

    def entry_of(self, grammar: str) -> GrammarEntry:
        """The entry of a grammar, a new one if there is none."""
        with self._entries_lock:
            entry = self._entries.setdefault(grammar, GrammarEntry())
            self._entries.move_to_end(grammar)
            while len(self._entries) > _MAX_COMPILED:
                self._entries.popitem(last=False)
            return entry

    def bound_compiled(self, latest: GrammarEntry, *, most_seconds: float) -> None:
        """Gives up the automata of grammars that were asked for longest ago, but for the latest.

        Args:
            latest: The grammar that was compiled last.
            most_seconds: Of the processor's time that the automata of all have taken.
        """
        with self._entries_lock:
            compiled = [
                (grammar, entry)
                for grammar, entry in self._entries.items()
                if isinstance(entry.outcome, CompiledGrammar)
            ]
            total = sum(entry.seconds for _grammar, entry in compiled)
            for grammar, entry in compiled:
                if total > most_seconds and entry is not latest:
                    total -= entry.seconds
                    del self._entries[grammar]

    def bound_unfinished(self, latest: GrammarEntry) -> None:
        """Keeps the work on a few grammars that are not finished, the latest ones."""
        with self._unfinished_lock:
            others = [it for it in self._unfinished if it is not latest]
            self._unfinished = others if latest.outcome else [*others, latest]
            for entry in self._unfinished[:-_MAX_UNFINISHED]:
                if entry.lock.acquire(blocking=False):  # nobody works on it
                    entry.forget_work()
                    entry.lock.release()
                    self._unfinished.remove(entry)
