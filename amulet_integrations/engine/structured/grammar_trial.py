"""Grammars that may take llguidance without end are read in another process first.

Nothing can stop llguidance while it reads a grammar. It bounds most of its work, but not that for
patterns that are combined, for large steps of numbers (`multipleOf`), and for thousands of rules,
which may also end the process.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from math import lcm
from subprocess import DEVNULL, Popen, TimeoutExpired
from tempfile import TemporaryFile

from amulet_integrations.concurrency.deadline import SECONDS_BETWEEN_LOOKS
from amulet_integrations.errors import UnsupportedGrammarError

MAX_CHARACTERS = 1024 * 1024
"""Most characters of a grammar."""

SECONDS = 5
"""Of the processor's time, for the other process."""

_LARGE = 32 * 1024  # characters
_MOST_RULES = 500
_MOST_PATTERNS = 8  # that may describe one text
_LARGEST_STEP = 10_000  # of a number, without zeros at its end: automata have a state for each

_STEP = re.compile(r'"multipleOf"\s*:\s*([\d.eE+-]+)')
_PATTERN = re.compile(r'"(?:pattern|format)"\s*:\s*("(?:[^"\\]|\\.)*")|"patternProperties"')
# A comment, a string or a pattern of Lark, in which operators are no operators.
_LITERAL = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|/(?:[^/\\\n]|\\.)+/')
_ANY_TEXT = r"/(.|\n)*/"  # without one more pattern it is a single automaton
_OPERATOR = re.compile(r"[&~]")

_SCRIPT = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
except ImportError:
    pass
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
limits = LLParserLimits(initial_lexer_fuel={fuel})
grammar = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=limits)
"""


def needs_trial(grammar: str) -> bool:
    """Whether llguidance may take long, or end the process, when it reads a grammar.

    Raises:
        UnsupportedGrammarError: The grammar is too large to be read at all.
    """
    if len(grammar) > MAX_CHARACTERS:
        raise UnsupportedGrammarError(
            f"The grammar has {len(grammar):,} characters, and the limit is {MAX_CHARACTERS:,}. "
            "Make it smaller."
        )
    plain = _unescaped(grammar)
    return (
        len(plain) > _LARGE
        or plain.count("\n") > _MOST_RULES
        or lcm(*map(_digits, _STEP.findall(plain))) > _LARGEST_STEP
        or len(set(_PATTERN.findall(plain))) > _MOST_PATTERNS
        or _combines(plain)
    )


def try_out(grammar: str, fuel: int, between: Callable[[], None]) -> None:
    """Reads a grammar in another process, which ends when it has taken too long.

    Args:
        grammar: The grammar.
        fuel: llguidance's bound on the work for patterns.
        between: Called many times a second meanwhile. It may raise an error, which ends the trial.

    Raises:
        UnsupportedGrammarError: It took too long, or ended the other process.
    """
    script = _SCRIPT.format(seconds=SECONDS, fuel=fuel)
    path = os.pathsep.join(filter(None, sys.path))
    with TemporaryFile() as text:
        text.write(grammar.encode("utf-8", "surrogatepass"))
        text.seek(0)
        trial = Popen(  # noqa: S603 - of this Python, without a shell
            [sys.executable, "-P", "-c", script],
            stdin=text,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        while trial.poll() is None:
            between()
            with suppress(TimeoutExpired):
                trial.wait(SECONDS_BETWEEN_LOOKS)
    finally:
        trial.kill()
        trial.wait()
    if trial.returncode:
        raise UnsupportedGrammarError(
            f"The grammar takes too long: llguidance had not read it after {SECONDS} s of the "
            "processor's time, or could not. Combine fewer patterns (& and ~ in Lark, allOf in "
            "JSON), give numbers steps of few digits, and write fewer rules."
        )


def _unescaped(grammar: str) -> str:
    """The Lark text or the schemas of a grammar in one of llguidance's two forms."""
    if not grammar.lstrip().startswith("{"):
        return grammar
    try:
        parts = json.loads(grammar)["grammars"]
        return "\n".join(
            str(part.get("lark_grammar") or json.dumps(part.get("json_schema"))) for part in parts
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return grammar  # llguidance will say what is wrong


def _digits(step: str) -> int:
    digits = int(re.sub(r"[eE].*|\D", "", step) or 0)
    while digits and digits % 10 == 0:
        digits //= 10
    return digits or 1


def _combines(plain: str) -> bool:
    """Whether Lark text combines patterns, but for `any text & ~pattern`."""
    marked = _LITERAL.sub(lambda found: "A" if found[0] == _ANY_TEXT else "L", plain)
    return _OPERATOR.search(re.sub(r"A *& *~ *L(?! *[*+?{&])", "", marked)) is not None
