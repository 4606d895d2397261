"""Compiling a grammar ends, for whoever waits and for those who try it again."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time

import pytest
from llguidance import LLMatcher

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.engine.structured import grammar as grammars
from amulet_integrations.engine.structured import grammar_trial
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.errors import (
    EngineOverloadedError,
    RequestCancelledError,
    RequestTimeoutError,
    UnsupportedGrammarError,
)
from tests.support.tiny import VOCABULARY, tiny_tokenizer

NODE = {"$ref": "#/$defs/N"}
ENDLESS = {
    **NODE,
    "$defs": {
        "N": {"type": "object", "properties": {"l": NODE, "r": NODE}, "required": ["l", "r"]}
    },
}
WIDE = {
    "type": "object",
    "properties": {f"name{i}": {"type": "string", "minLength": 3} for i in range(20)},
    "required": [f"name{i}" for i in range(20)],
}


def written(schema):
    return LLMatcher.grammar_from_json_schema(json.dumps(schema))


@pytest.fixture
def compiler():
    tokenizer = tiny_tokenizer()
    return GrammarCompiler(tokenizer, VOCABULARY, frozenset([tokenizer.eos_token_id]))


@pytest.fixture
def searches(monkeypatch):
    """How many searches were begun."""
    begun = []
    search = grammars.steps_to_best_completion

    def noted(*args, **options):
        begun.append(1)
        return search(*args, **options)

    monkeypatch.setattr(grammars, "steps_to_best_completion", noted)
    return begun


def test_what_was_refused_is_not_searched_again(compiler, searches):
    for _ in range(3):
        with pytest.raises(UnsupportedGrammarError):
            compiler.compile(written(ENDLESS))
    assert len(searches) == 1


class CountingMatcher:
    """A matcher that counts the tokens that it and its copies take."""

    def __init__(self, matcher, taken):
        self._matcher = matcher
        self._taken = taken

    def deep_copy(self):
        return CountingMatcher(self._matcher.deep_copy(), self._taken)

    def consume_token(self, token):
        self._taken.append(token)
        return self._matcher.consume_token(token)

    def __getattr__(self, name):
        return getattr(self._matcher, name)


def test_a_refusal_is_explained_in_few_steps(compiler):
    """llguidance forces tens of thousands of tokens here, which take many seconds."""
    taken = []
    compiler.prepare()
    matcher = LLMatcher(compiler._ll_tokenizer, written(ENDLESS), log_level=0)
    compiler._limit_hit(CountingMatcher(matcher, taken))
    assert 0 < len(taken) < 100


class OneTurn(Deadline):
    """Passes after one turn of the search."""

    checks = 0

    def check(self, doing):
        self.checks += 1
        if self.checks > 1:
            raise RequestTimeoutError(f"The time was up {doing}.")


def test_a_search_that_a_deadline_cuts_goes_on_where_it_was(compiler, searches):
    whole = compiler.compile(written(WIDE)).shortest_completion
    other = GrammarCompiler(compiler._tokenizer, VOCABULARY, compiler.end_ids)
    other.prepare()
    cuts = 0
    while True:
        try:
            found = other.compile(written(WIDE), OneTurn()).shortest_completion
            break
        except RequestTimeoutError as error:
            assert "compiled" in str(error)  # noqa: PT017
            cuts += 1
    assert cuts
    assert found == whole
    assert len(searches) == 2


def test_a_search_that_takes_too_long_is_refused_for_good(compiler, searches, monkeypatch):
    monkeypatch.setattr(grammars, "_SECONDS_OF_A_SEARCH", 0.0)
    for _ in range(2):
        with pytest.raises(UnsupportedGrammarError, match="takes too long"):
            compiler.compile(written(WIDE))
    assert len(searches) == 1


def test_who_waits_for_another_ones_search_may_give_up(compiler):
    entry = compiler._kept.entry_of(written(WIDE))
    with entry.lock:
        deadline = Deadline()
        threading.Timer(0.1, deadline.cancel).start()
        with pytest.raises(RequestCancelledError):
            compiler.compile(written(WIDE), deadline)
        with pytest.raises(RequestTimeoutError, match=r"timeout of 0\.01 s"):
            compiler.compile(written(WIDE), Deadline(0.01))
    assert compiler.compile(written(WIDE)).shortest_completion


def test_a_search_that_an_interrupt_leaves_keeps_what_it_found(compiler, monkeypatch):
    whole = compiler.compile(written(WIDE)).shortest_completion
    other = GrammarCompiler(compiler._tokenizer, VOCABULARY, compiler.end_ids)
    run_in_turns = grammars.run_in_turns

    def interrupted(*arguments):
        run_in_turns(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(grammars, "run_in_turns", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.compile(written(WIDE))
    monkeypatch.setattr(grammars, "run_in_turns", run_in_turns)
    assert other.compile(written(WIDE)).shortest_completion == whole


def test_what_is_refused_or_cut_keeps_no_automata(compiler):
    def long(number):
        return written({"type": "string", "pattern": f"^a{{{100_000 + number}}}$"})

    for number in range(6):
        with pytest.raises(UnsupportedGrammarError):
            compiler.compile(long(number))
        with pytest.raises(RequestTimeoutError):
            compiler.compile(written(WIDE | {"title": str(number)}), OneTurn())
    entries = [compiler._kept.entry_of(long(number)) for number in range(6)]
    assert all(entry.matcher is None for entry in entries)
    cut = [compiler._kept.entry_of(written(WIDE | {"title": str(number)})) for number in range(6)]
    assert [entry.matcher is not None for entry in cut] == [False] * 4 + [True] * 2


def number_from(least):
    return written({"type": "integer", "minimum": least})


def test_grammars_are_kept(compiler, searches):
    for number in (*range(20), *range(20)):
        compiler.compile(number_from(number))
    assert len(searches) == 20


def test_grammars_that_took_much_work_are_not_all_kept(compiler, searches, monkeypatch):
    """Their automata would take gigabytes; the latest one is kept in any case."""
    monkeypatch.setattr(grammars, "_MAX_SECONDS_KEPT", 0.0)
    for number in (0, 0, 1, 1, 0):
        assert compiler.compile(number_from(number)).shortest_completion
    assert len(searches) == 3
    with pytest.raises(UnsupportedGrammarError):
        compiler.compile(written(ENDLESS))
    compiler.compile(number_from(1))
    with pytest.raises(UnsupportedGrammarError):  # a refusal takes no room
        compiler.compile(written(ENDLESS))
    assert len(searches) == 5


STEPS = (97, 89, 83, 79, 73)
HOSTILE = {
    "a step of many digits": 'start: %json {"type": "integer", "multipleOf": 999983}',
    "patterns of one text": "start: X\nX: " + " & ".join(f"/([ab]{{{n}}})*/" for n in STEPS),
    "a chain of rules": "start: r0\n"
    + "".join(f"r{n}: r{n + 1}\n" for n in range(20_000))
    + 'r20000: "a"',
}


def in_parts(**part):
    return json.dumps({"grammars": [part]})


@pytest.mark.parametrize("grammar", HOSTILE.values(), ids=HOSTILE)
def test_a_grammar_that_cannot_be_read_in_time_is_refused(compiler, monkeypatch, grammar):
    monkeypatch.setattr(grammar_trial, "SECONDS", 1)
    with pytest.raises(RequestTimeoutError, match="compiled"):
        compiler.compile(grammar, Deadline(0.001))
    with pytest.raises(UnsupportedGrammarError, match="takes too long") as refused:
        compiler.compile(grammar)
    with monkeypatch.context() as patch:
        patch.setattr(grammars, "try_out", None)  # what was refused is not tried again
        with pytest.raises(UnsupportedGrammarError, match=re.escape(str(refused.value))):
            compiler.compile(grammar)


@pytest.mark.parametrize(
    ("grammar", "is_tried"),
    [
        ('start: "a & b" /~x&y/ // and ~ & so on', False),
        ("start: TEXT\nTEXT: /(.|\\n)*/ & ~/(.|\\n)*x(.|\\n)*/\n", False),
        ("start: TEXT\nTEXT: /(.|\\n)*/ & ~/x/ & /y/\n", True),
        ('start: X\nX: /"/ & /y"/', True),
        ('start: %json {"properties": {"a": {"multipleOf": 100}, "b": {"multipleOf": 7}}}', False),
        ('start: %json {"title": "R&D", "pattern": "[~&]"}', False),
        ('start: %json {"multipleOf": 1e-3}', False),
        ('start: %json {"multipleOf": 0.0999983}', True),
        ("start: %json {}" + " " * 33_000, True),
        ('start: %json {"allOf": [{"multipleOf": 7919}, {"multipleOf": 7907}]}', True),
        (in_parts(json_schema={"multipleOf": 999983}), True),
        (in_parts(json_schema={"multipleOf": 7}), False),
        (in_parts(lark_grammar="start: X\nX: /a*/ & /b*/"), True),
    ],
)
def test_only_what_may_take_long_is_tried_in_another_process(grammar, is_tried):
    assert grammar_trial.needs_trial(grammar) is is_tried


def code(number):
    return {"type": "string", "pattern": f"^([a-z]{{{number}}})*$"}


def step(number):
    return {"type": "integer", "multipleOf": number}


def optional(schema):
    return {"anyOf": [schema, {"type": "null"}], "default": None}


def fields(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


CODES = [code(number) for number in range(1, 13)]
MODEL = fields(**{f"code{number}": it for number, it in enumerate(CODES)})
REFERENCE = {"$ref": "#/$defs/M"}
MODELS = {"$defs": {"M": MODEL}}


@pytest.mark.parametrize(
    "written_as",
    [
        lambda schema: f"start: x\nx: %json {json.dumps(schema)}\n",
        lambda schema: in_parts(json_schema=schema),
        lambda schema: in_parts(lark_grammar=f"start: %json {json.dumps(schema)} /a/"),
    ],
    ids=["Lark", "JSON", "Lark in JSON"],
)
@pytest.mark.parametrize(
    ("schema", "is_tried"),
    [
        (MODEL, False),
        (fields(a=step(97), b=step(89), c=step(83), d=step(79)), False),
        (fields(title={"type": "string", "description": "What it is. " * 4_000}), False),
        (
            fields(**{f"a{n}": {"anyOf": [it, {"type": "null"}]} for n, it in enumerate(CODES)}),
            False,
        ),
        (
            fields(
                one=optional(REFERENCE),
                other=REFERENCE | {"description": "The other one."},
                third={"allOf": [REFERENCE], "title": "Third"},
            )
            | MODELS,
            False,
        ),
        (fields(one={"allOf": [REFERENCE, REFERENCE]}) | MODELS, True),
        (fields(title={"allOf": CODES}), True),
        ({"type": "array", "items": {"anyOf": CODES}}, True),
        ({"anyOf": [step(7919), step(7907)]}, True),
        (fields(a=step(7919) | REFERENCE) | {"$defs": {"M": step(7907)}}, True),
        ({"$ref": "#/examples/0", "examples": [{"allOf": [step(7919), step(7907)]}]}, True),
        ({"enum": ["x" * 33_000]}, True),
    ],
)
def test_properties_with_a_pattern_each_are_ordinary(schema, is_tried, written_as):
    """Nothing ordinary waits for another process, however many properties and words it has."""
    assert grammar_trial.needs_trial(written_as(schema)) is is_tried


def test_a_schema_in_a_string_of_lark_hides_none():
    for hiding in ('"%json" ', '// %json {"\nx: ', '/%json {"/ ', '"%json {" " %json {" '):
        assert grammar_trial.needs_trial(f"start: {hiding}%json {json.dumps(step(999_983))}")


def test_ordinary_grammars_do_not_wait_for_those_that_are_tried(compiler, monkeypatch):
    tried, go = threading.Event(), threading.Event()

    def start(*_):
        tried.set()
        assert go.wait(20)
        raise OSError("no process")

    monkeypatch.setattr(grammar_trial, "_start", start)

    def ask():
        with pytest.raises(EngineOverloadedError, match="no process"):
            compiler.compile(HOSTILE["a step of many digits"], user_id="mallory")

    hostile = threading.Thread(target=ask)
    hostile.start()
    assert tried.wait(20)
    try:
        assert compiler.compile(number_from(5), Deadline(10), "ann").shortest_completion
    finally:
        go.set()
        hostile.join(20)


@pytest.mark.parametrize("executable", ["/nowhere/python", shutil.which("true")])
def test_a_process_that_does_not_begin_says_nothing_of_the_grammar(
    compiler, monkeypatch, executable
):
    grammar = "start: X\nX: /[ab]+/ & /.{4}/"
    with monkeypatch.context() as patch:
        patch.setattr(grammar_trial.sys, "executable", executable)
        with pytest.raises(EngineOverloadedError, match="could not begin"):
            compiler.compile(grammar)
    assert len(compiler.compile(grammar).shortest_completion) == 4


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this system has no such signal")
def test_an_application_that_ignores_its_children_is_told_all_the_same(compiler, monkeypatch):
    """Python takes the exit code of a child whose end was ignored for 0."""
    monkeypatch.setattr(grammar_trial, "SECONDS", 1)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(UnsupportedGrammarError, match="takes too long"):
            compiler.compile(HOSTILE["a step of many digits"])
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_grammar_that_may_take_long_and_does_not_is_followed(compiler):
    compiled = compiler.compile("start: X\nX: /[ab]+/ & /.{3}/")
    assert len(compiled.shortest_completion) == 3


def test_a_huge_grammar_is_not_read(compiler):
    with pytest.raises(UnsupportedGrammarError, match=r"2,000,007 characters, .* 1,048,576"):
        compiler.compile("start: " + '"a" ' * 500_000)


def count_waiting(compiler):
    return sum(map(len, compiler._long_steps._waiting.values()))


def test_users_take_turns_where_grammars_take_long(compiler, monkeypatch):
    """One user's many new grammars make a stranger wait for one of them, not for all."""
    compiler.prepare()
    read, order, begun, go = grammars.LLMatcher, [], threading.Event(), threading.Event()

    def noted(tokenizer, grammar, **options):
        begun.set()
        assert go.wait(20)
        order.append(grammar)
        return read(tokenizer, grammar, **options)

    monkeypatch.setattr(grammars, "LLMatcher", noted)
    asked = [("mallory", number) for number in range(5)] + [("ann", 5)]
    threads = [
        threading.Thread(target=compiler.compile, args=(f'start: "a" "{n}"', None, user))
        for user, n in asked
    ]
    for number, thread in enumerate(threads):
        thread.start()
        assert begun.wait(20)
        end = time.monotonic() + 20
        while count_waiting(compiler) < number and time.monotonic() < end:
            time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join(20)
    assert order.index('start: "a" "5"') <= 2
