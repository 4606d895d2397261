"""Reading answers: however the text is cut, and whatever breaks off."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations.prompting import AnswerParser
from amulet_integrations.prompting.parsing.pieces import CallPiece, InvalidCallPiece, TextPiece
from amulet_integrations.prompting.tools.formats import (
    HermesFormat,
    LlamaFormat,
    MistralArgsFormat,
    MistralFormat,
)
from tests.support.tiny import tiny_tokenizer
from tests.unit.prompting.answers import WholeAnswer, join

TOKENIZER = tiny_tokenizer()
FORMATS = {
    "hermes": HermesFormat(TOKENIZER),
    "llama": LlamaFormat(TOKENIZER),
    "mistral": MistralFormat(TOKENIZER),
    "mistral-args": MistralArgsFormat(TOKENIZER),
}
NAMES = ("search", "add")


def parser(name, reasoning="none"):
    return AnswerParser(FORMATS[name], NAMES, reasoning)


def read(name, *chunks, reasoning="none") -> WholeAnswer:
    reader = parser(name, reasoning)
    pieces = [piece for chunk in chunks for piece in reader.push(chunk)]
    return join(pieces + reader.flush())


def calls(answer: WholeAnswer):
    return [(call.name, call.arguments) for call in answer.calls]


SEARCH = ("search", {"q": 'a "b" </tool_call> {[', "n": [1, {"x": None}]})
ADD = ("add", {"a": 1, "b": 2.5})
ADD_JSON = '{"name": "add", "arguments": {"a": 1, "b": 2.5}}'


def hermes(*made):
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
        for name, arguments in made
    )


def llama(made):
    return json.dumps({"name": made[0], "parameters": made[1]})


def mistral(*made):
    return "[TOOL_CALLS]" + json.dumps([{"name": n, "arguments": a} for n, a in made])


def mistral_args(*made):
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(given)}" for name, given in made)


@pytest.mark.parametrize(
    ("name", "text", "expected", "expected_calls"),
    [
        ("hermes", hermes(SEARCH), "", [SEARCH]),
        ("hermes", "Let me see.\n\n" + hermes(SEARCH, ADD) + "\n", "Let me see.", [SEARCH, ADD]),
        ("hermes", hermes(ADD) + "\n\nDone.", "\n\nDone.", [ADD]),
        ("hermes", f"A {hermes(ADD)} B {hermes(SEARCH)} C", "A B C", [ADD, SEARCH]),
        ("llama", llama(SEARCH), "", [SEARCH]),
        ("llama", "<|python_tag|>" + llama(ADD), "", [ADD]),
        ("llama", "\n" + llama(ADD) + "\n", "", [ADD]),
        ("mistral", mistral(SEARCH, ADD), "", [SEARCH, ADD]),
        ("mistral", "One moment. " + mistral(ADD), "One moment.", [ADD]),
        ("mistral-args", mistral_args(SEARCH, ADD), "", [SEARCH, ADD]),
        ("mistral-args", "Sure. " + mistral_args(ADD) + " ok", "Sure. ok", [ADD]),
    ],
)
def test_well_formed_answers_are_read(name, text, expected, expected_calls):
    answer = read(name, text)
    assert calls(answer) == expected_calls
    assert (answer.text, answer.invalid) == (expected, ())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", f"<tool_call>{ADD_JSON}\n"),
        ("hermes", f"<tool_call>{ADD_JSON}</tool_c"),
        ("mistral", f"[TOOL_CALLS] [{ADD_JSON}"),
        ("mistral-args", '[TOOL_CALLS]add[ARGS] {"a": 1, "b": 2.5}'),
        ("llama", '{"name": "add", "parameters": {"a": 1, "b": 2.5}'),
    ],
)
def test_a_call_whose_arguments_are_whole_is_a_call(name, text):
    answer = read(name, text)
    assert calls(answer) == [ADD]
    assert (answer.text, answer.invalid) == ("", ())


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("hermes", '<tool_call>\n{"name": "add", "arguments": {"a": 1,', "cut short"),
        ("hermes", "<tool_call>\n", "cut short"),
        ("hermes", '<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "no call"),
        ("hermes", '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>', "JSON"),
        ("hermes", '<tool_call>{"name": "add", "arguments": {"a": "\\ud800"}}</tool_call>', "JSON"),
        ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1e999}}</tool_call>', "JSON"),
        ("hermes", '<tool_call>{"name": "sub", "arguments": {}}</tool_call>', "search, add"),
        ("hermes", '<tool_call>{"arguments": {}}</tool_call>', "no call"),
        ("hermes", "<tool_call>add(1, 2)</tool_call>", "no call"),
        ("hermes", '<tool_call>{"name": "add', "cut short"),
        ("hermes", f'<tool_call>{{"name": "add", "arguments": {{"a": {"[" * 9999}', "cut short"),
        ("llama", '{"name": "add", "parameters": {"a": 1', "cut short"),
        ("llama", '{"name": "add"', "cut short"),
        ("llama", '{"name": "sub", "parameters": {}}', "search, add"),
        ("mistral", '[TOOL_CALLS][{"name": "add", "argum', "cut short"),
        ("mistral-args", '[TOOL_CALLS]add[ARGS]{"a": 1', "cut short"),
        ("mistral-args", "[TOOL_CALLS]add", "cut short"),
        ("mistral-args", "[TOOL_CALLS]sub[ARGS]{}", "search, add"),
    ],
)
def test_calls_that_cannot_be_made(name, text, error):
    answer = read(name, text)
    assert (answer.text, answer.calls) == ("", ())
    (invalid,) = answer.invalid
    assert error in invalid.error
    assert invalid.text in text


def test_an_invalid_call_replaces_what_was_streamed():
    reader = parser("hermes")
    begun = reader.push('<tool_call>{"name": "add", "arguments": {"a": 1')
    assert begun == [CallPiece(0, "add", '{"a": 1')]
    (end,) = reader.flush()
    assert isinstance(end, InvalidCallPiece)
    assert (end.index, end.text, end.name) == (0, '{"name": "add", "arguments": {"a": 1', "add")


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_call_that_breaks_off_spoils_no_earlier_one(cut):
    first, second = ADD_JSON, '{"name": "search", "arguments": {"q": 1'
    texts = {
        "hermes": f"<tool_call>\n{first}\n</tool_call>\n<tool_call>\n{second[:cut]}",
        "mistral": f"[TOOL_CALLS][{first}, {second[:cut]}",
        "mistral-args": mistral_args(ADD) + '[TOOL_CALLS]search[ARGS]{"q": 1'[: 12 + cut],
    }
    for name, text in texts.items():
        answer = read(name, *text)
        assert calls(answer) == [ADD]
        assert answer.text == ""
        (invalid,) = answer.invalid
        assert "cut short" in invalid.error


@pytest.mark.parametrize(
    "broken",
    [
        '{"name": "add',
        "add(1)",
        '{"name": "sub", "arguments": {}}',
        '{"name": "add", "arguments": {"a": 1}, "b": 2}',
    ],
)
def test_an_invalid_call_does_not_hide_the_next(broken):
    answer = read("hermes", f"<tool_call>{broken}</tool_call>\n{hermes(ADD)} Then this.")
    assert calls(answer) == [ADD]
    assert len(answer.invalid) == 1
    assert answer.text.endswith(" Then this.")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("hermes", '<tool_call>{"</tool_call>'),
        ("mistral", '[TOOL_CALLS][{"name": "sub", "arguments": {}}]'),
    ],
)
def test_reading_broken_calls_takes_linear_time(name, broken):
    def seconds(count):
        start = time.process_time()
        assert len(read(name, broken * count).invalid) == count
        return time.process_time() - start

    assert seconds(2000) < 100 * max(seconds(100), 0.002)  # 400 if every call were read by each


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", "Write <tool_call> before it. \n"),
        ("hermes", "a <tool_cal"),
        ("hermes", "a < b </tool_call> [TOOL_CALLS] {} \n\n"),
        ("hermes", '{"name": "add", "arguments": {}}'),
        ("llama", '{"name": "Bob", "age": 3}'),
        ("llama", '{"answer": [1, 2]} and {"name": "add", "parameters": {}}'),
        ("llama", 'I would call {"name": "add", "parameters": {}}'),
        ("llama", "[1, 2"),
        ("llama", "```python\nprint(1)\n```\n"),
        ("llama", "  <|python"),
        ("llama", "{"),
        ("llama", '{"name": "add", "age": 3}'),
        ("llama", ""),
        ("llama", '[{"name": "add", "parameters": {}}]'),
        ("llama", '```json\n{"name": "add", "parameters": {}}\n```'),
        ("mistral", "The marker is [TOOL_CALLS], I think."),
        ("mistral", "[TOOL_CALLS][]"),
        ("mistral", "a [TOOL_CAL"),
        ("mistral-args", "[ARGS]{}"),
    ],
)
def test_what_only_looks_like_a_call_is_text(name, text):
    assert read(name, text) == WholeAnswer(text=text)


def test_everything_is_text_without_tools():
    reader = AnswerParser()
    text = f"a \n{hermes(ADD)}"
    assert reader.push(text) == [TextPiece(text)]
    assert reader.flush() == []


def test_text_and_arguments_are_streamed():
    reader = parser("hermes")
    assert reader.push("One mo") == [TextPiece("One mo")]
    assert reader.push('ment.\n<tool_call>\n{"name": "search", ') == [TextPiece("ment.")]
    assert reader.push('"arguments": {"q": "ab') == [CallPiece(0, "search", '{"q": "ab')]
    assert reader.push('c"') == [CallPiece(0, None, 'c"')]
    assert reader.push("}}\n</tool_call>") == [CallPiece(0, None, "}")]
    assert reader.flush() == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_text_is_not_held_back_where_no_call_can_come(name):
    reader = AnswerParser(FORMATS[name], NAMES, calls_open_answer=True)
    assert reader.push('{"a') == [TextPiece('{"a')]
    assert reader.push('b": ') == [TextPiece('b": ')]


@pytest.mark.parametrize(
    ("reasoning", "text", "thought", "expected"),
    [
        ("may open", "<think>\na\nb\n</think>\n\nYes.", "a\nb", "Yes."),
        ("may open", "\n<think></think>Yes.", "", "Yes."),
        ("may open", "Yes <think>no</think>", "", "Yes <think>no</think>"),
        ("may open", "<thi", "", "<thi"),
        ("may open", "<think>a </thin", "a </thin", ""),
        ("already open", "a < b\n</think>\nYes.", "a < b", "Yes."),
        ("already open", "<think>\na</think>Yes.", "a", "Yes."),
        ("already open", "a\n", "a\n", ""),
        ("already open", "</think>\n", "", ""),
        ("none", "<think>a</think>b", "", "<think>a</think>b"),
    ],
)
def test_thoughts_are_separated_from_the_answer(reasoning, text, thought, expected):
    for chunks in ([text], list(text)):
        answer = read("hermes", *chunks, reasoning=reasoning)
        assert (answer.reasoning, answer.text) == (thought, expected)


def test_calls_in_thoughts_are_thoughts():
    text = f"<think>{hermes(ADD)}</think>\n\n{hermes(SEARCH)}"
    answer = read("hermes", text, reasoning="may open")
    assert (answer.reasoning, calls(answer)) == (hermes(ADD), [SEARCH])


SCRAPS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "```json"),
        *("<think>", "</think>", '{"name": "add", "arguments": ', '{"name": "', '"parameters": '),
        *('{"a": 1}', "{}", "}", "]", "[", "{", '"', "\\", ",", ";", " ", "\n", "add", "é", "<"),
        *(hermes(ADD), llama(ADD), mistral(ADD, SEARCH), mistral_args(SEARCH)),
    ]
)
TEXTS = st.lists(SCRAPS, max_size=12).map("".join)
REASONING = st.sampled_from(["none", "may open", "already open"])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), TEXTS, REASONING, st.data())
def test_answers_do_not_depend_on_how_the_text_is_cut(name, text, reasoning, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read(name, text, reasoning=reasoning)
    assert read(name, *chunks, reasoning=reasoning) == whole
    assert read(name, *text, reasoning=reasoning) == whole


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(), VALUES, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_any_json_object_is_read_as_arguments(made, ascii_only, indent):
    def written(value):
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    tagged = [{"name": name, "arguments": given} for name, given in made]
    texts = {
        "hermes": "".join(f"<tool_call>{written(call)}</tool_call>" for call in tagged),
        "mistral": "[TOOL_CALLS]" + written(tagged),
        "mistral-args": "".join(f"[TOOL_CALLS]{n}[ARGS]{written(a)}" for n, a in made),
    }
    for name, text in texts.items():
        assert calls(read(name, *text)) == made
    name, given = made[0]
    assert calls(read("llama", *written({"name": name, "parameters": given}))) == made[:1]


MARKED = {"hermes": hermes(ADD), "mistral": mistral(ADD), "mistral-args": mistral_args(ADD)}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_later_markers_are_text_if_calls_open_the_answer(data):
    name = data.draw(st.sampled_from(sorted(MARKED)))
    call = MARKED[name]
    space = data.draw(st.sampled_from(["", " ", "\n\n"]))
    before = data.draw(st.sampled_from(['{"note": "', "<tool", "[TOOL", "x"]))
    reasoning = data.draw(st.sampled_from(["none", "may open"]))
    text = space + before + call + '"}\n'
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))

    def read_cut(whole):
        reader = AnswerParser(FORMATS[name], NAMES, reasoning, calls_open_answer=True)
        ends = [0, *cuts, len(whole)]
        pieces = [p for a, b in itertools.pairwise(ends) for p in reader.push(whole[a:b])]
        return join(pieces + reader.flush())

    assert read_cut(text) == WholeAnswer(text=text)
    assert calls(read_cut(space + call)) == [ADD]
    beginning = call[:5]
    assert read_cut(beginning) == WholeAnswer(text=beginning)
