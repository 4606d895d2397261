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
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import lcm
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from tempfile import TemporaryFile
from typing import Any

from amulet_integrations.concurrency.deadline import SECONDS_BETWEEN_LOOKS
from amulet_integrations.concurrency.user_turns import UserTurns
from amulet_integrations.errors import EngineOverloadedError, UnsupportedGrammarError

from .schema_parts import LITERAL, parts_of_lark, parts_of_schema

MAX_CHARACTERS = 1024 * 1024
"""Most characters of a grammar."""

SECONDS = 5
"""Of the processor's time, for the other process."""

_SECONDS_BY_THE_CLOCK = 60  # for systems that do not bound the processor's time

_LARGE = 32 * 1024  # characters
_MOST_RULES = 500
_MOST_PATTERNS = 8  # that may describe one text
_LARGEST_STEP = 10_000  # of a number, without zeros at its end: automata have a state for each

_STEP = re.compile(r'"multipleOf"\s*:\s*([\d.eE+-]+)')
_PATTERN = re.compile(r'"(?:pattern|format)"\s*:\s*("(?:[^"\\]|\\.)*")|"patternProperties"')
_ANY_TEXT = r"/(.|\n)*/"  # without one more pattern it is a single automaton
_OPERATOR = re.compile(r"[&~]")

_turns = UserTurns()

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
print("begun", flush=True)
LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=limits)
print("read")
"""
_BEGUN, _READ = b"begun", b"read"


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
    parts = _parts(grammar)
    return (
        sum(map(len, parts)) > _LARGE
        or any(part.count("\n") > _MOST_RULES for part in parts)
        or any(lcm(*map(_digits, _STEP.findall(part))) > _LARGEST_STEP for part in parts)
        or any(len(set(_PATTERN.findall(part))) > _MOST_PATTERNS for part in parts)
        or any(map(_combines, parts))
    )


def try_out(
    grammar: str, fuel: int, between: Callable[[], None], user_id: str | None = None
) -> None:
    """Reads a grammar in another process, which ends when it has taken too long.

    One such process runs at a time.

    Args:
        grammar: The grammar.
        fuel: llguidance's bound on the work for patterns.
        between: Called many times a second meanwhile. It may raise an error, which ends the trial.
        user_id: The user whose request it is; None for nobody in particular. Users take turns.

    Raises:
        UnsupportedGrammarError: It took too long, or ended the other process.
        EngineOverloadedError: The other process could not begin.
    """
    with _turns.take(between, user_id):
        reached = _reached_in_trial(grammar, _SCRIPT.format(seconds=SECONDS, fuel=fuel), between)
    if _BEGUN not in reached:
        raise _cannot_begin("it ended at once")
    if _READ not in reached:
        raise UnsupportedGrammarError(
            f"The grammar takes too long: llguidance had not read it after {SECONDS} s of the "
            "processor's time, or could not. Combine fewer patterns (& and ~ in Lark, allOf in "
            "JSON), give numbers steps of few digits, and write fewer rules."
        )


def _reached_in_trial(grammar: str, script: str, between: Callable[[], None]) -> list[bytes]:
    """The lines that the script prints until it ends."""
    try:
        trial = _start(grammar, script)
    except OSError as error:
        raise _cannot_begin(str(error)) from error
    with trial:
        end = time.monotonic() + _SECONDS_BY_THE_CLOCK
        try:
            while trial.poll() is None and time.monotonic() < end:
                between()
                with suppress(TimeoutExpired):
                    trial.wait(SECONDS_BETWEEN_LOOKS)
        finally:
            trial.kill()
        # Not its exit code, which is lost where the application ignores the ends of children.
        return trial.stdout.read().split() if trial.stdout else []


def _start(grammar: str, script: str) -> Popen[bytes]:
    path = os.pathsep.join(filter(None, sys.path))
    with TemporaryFile() as text:
        text.write(grammar.encode("utf-8", "surrogatepass"))
        text.seek(0)
        return Popen(  # noqa: S603 - of this Python, without a shell
            [sys.executable, "-P", "-c", script],
            stdin=text,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a Ctrl-C that the application takes for itself is not for it
        )


def _cannot_begin(reason: str) -> EngineOverloadedError:
    return EngineOverloadedError(
        "The grammar may take llguidance long, so a Python process reads it first, and that could "
        f"not begin: {reason}. Let this process start another one, or make the grammar simpler: "
        "fewer patterns (& and ~ in Lark, allOf in JSON), numbers with steps of few digits, fewer "
        "rules."
    )


def _parts(grammar: str) -> list[str]:
    """The parts of a grammar: of a text of Lark, or of one of llguidance's JSON forms."""
    if not grammar.lstrip().startswith("{"):
        return list(parts_of_lark(grammar))
    try:
        grammars = json.loads(grammar)["grammars"]
        return [part for each in grammars for part in _parts_of_one(each)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [grammar]  # llguidance will say what is wrong


def _parts_of_one(grammar: dict[str, Any]) -> Iterable[str]:
    if lark := grammar.get("lark_grammar"):
        return parts_of_lark(str(lark))
    return parts_of_schema(grammar.get("json_schema"))


def _digits(step: str) -> int:
    digits = int(re.sub(r"[eE].*|\D", "", step) or 0)
    while digits and digits % 10 == 0:
        digits //= 10
    return digits or 1


def _combines(plain: str) -> bool:
    """Whether Lark text combines patterns, but for `any text & ~pattern`."""
    marked = LITERAL.sub(lambda found: "A" if found[0] == _ANY_TEXT else "L", plain)
    return _OPERATOR.search(re.sub(r"A *& *~ *L(?! *[*+?{&])", "", marked)) is not None
