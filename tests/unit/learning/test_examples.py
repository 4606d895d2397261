"""Examples: what they contain, what they refuse, and that their texts stay private."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from amulet_integrations.errors import (
    AmuletError,
    EvidenceError,
    PromptError,
    UnknownArgumentError,
)
from amulet_integrations.installation import install_command
from amulet_integrations.learning import Example, read_examples
from amulet_integrations.prompting import ChatMessage

SECRET = "my dog Rex"
QUESTION = ChatMessage(role="user", content=SECRET)
ANSWER = ChatMessage(role="assistant", content="Woof.")


def test_a_question_is_a_conversation():
    assert Example(question="Why?", accepted="So.").messages == (
        ChatMessage(role="user", content="Why?"),
    )
    whole = Example(question=(QUESTION, ANSWER, QUESTION), rejected="No.", system="Be kind.")
    assert [message.role for message in whole.messages] == ["system", "user", "assistant", "user"]


def test_texts_stay_out_of_repr():
    example = Example(question=SECRET, accepted=SECRET, rejected=SECRET + "!", system=SECRET)
    shown = repr(example)
    assert SECRET not in shown
    assert "accepted=<10 characters>" in shown
    assert SECRET not in repr(Example(question=(QUESTION,), accepted="So."))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": SECRET}, "accepted and rejected are both missing"),
        ({"question": SECRET, "accepted": SECRET, "rejected": SECRET}, "the same answer"),
        ({"question": SECRET, "accepted": " \n"}, "accepted is blank"),
        ({"question": " ", "accepted": SECRET}, "question is blank"),
        ({"question": SECRET, "accepted": SECRET, "system": ""}, "system is blank"),
        ({"accepted": SECRET}, "question is missing"),
        ({"question": SECRET, "accepted": 3}, "accepted is a int"),
        ({"question": [SECRET], "accepted": SECRET}, "question"),
        ({"question": (), "accepted": SECRET}, "no user message"),
        ({"question": (QUESTION, ANSWER), "accepted": SECRET}, "ends with the assistant's"),
        ({"question": [{"role": SECRET, "content": SECRET}], "accepted": "a"}, r"question"),
        ({"question": [{"role": "user", SECRET: "a"}], "accepted": "a"}, r"question\[0\]: a name"),
        ({"question": [{1: SECRET}], "accepted": "a"}, r"question\[0\]: a name that ChatMessage"),
        ({"question": [{"rol": "user"}], "accepted": "a"}, "'rol' .did you mean 'role'"),
        ({"question": SECRET, "accepted": SECRET, "complete": 1}, "complete is a int"),
        ({"question": SECRET, "accepted": SECRET, "complete": SECRET}, "complete is a str"),
    ],
)
def test_bad_examples_are_refused_without_their_texts(fields, message):
    with pytest.raises(EvidenceError, match=message) as caught:
        Example(**fields)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_half_a_character_is_refused():
    with pytest.raises(PromptError, match="half of a surrogate pair"):
        Example(question="Why?", accepted="\ud83d")


def test_a_misspelt_name_is_named_with_the_right_one():
    with pytest.raises(UnknownArgumentError, match="did you mean 'accepted'"):
        Example(question="Why?", acepted="So.")


def test_examples_are_read_from_lines(tmp_path):
    file = tmp_path / "examples.jsonl"
    turns = [{"role": "user", "content": "Why?\u2028Really?"}]
    lines = [
        {"question": "Why?", "accepted": "So.", "complete": True},
        {"question": turns, "rejected": "Né."},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\r\n"
    file.write_text(text, encoding="utf-8")
    assert read_examples(str(file)) == [
        Example(question="Why?", accepted="So.", complete=True),
        Example(question=(ChatMessage(role="user", content="Why?\u2028Really?"),), rejected="Né."),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'{{"question": "{SECRET}"', r"line 2: not JSON .* column \d+"),
        (f'["{SECRET}"]', "line 2: a list"),
        (f'{{"question": "{SECRET}", "acepted": "{SECRET}"}}', "line 2: .*did you mean 'accepted'"),
        (f'{{"question": "{SECRET}", "accepted": 5}}', "line 2: accepted is a int"),
        (f'{{"question": "{SECRET}", "accepted": ""}}', "line 2: accepted is blank"),
        (f'{{"accepted": "{SECRET}"}}', "line 2: question is missing"),
        (f'{{"{SECRET}": "So."}}', "line 2: a name that Example does not have. It has: accepted"),
        ('{"self": "a"}', "line 2: a name that Example does not have"),
        ('{"question": ' + "1" * 5000 + "}", r"line 2: JSON that is not read \(a number too long"),
        ("[" * 200_000, r"line 2: JSON that is not read \(nested too deeply"),
        (f'{{"question": "a", "accepted": "b", "complete": "{SECRET}"}}', "line 2: complete is a"),
    ],
)
def test_bad_lines_are_named_without_their_texts(tmp_path, line, message):
    file = tmp_path / "examples.jsonl"
    file.write_text('{"question": "Why?", "accepted": "So."}\n' + line)
    with pytest.raises(AmuletError, match=f"examples.jsonl, {message}") as caught:
        read_examples(file)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_examples_need_neither_torch_nor_scipy():
    code = """
import sys
from amulet_integrations.learning import read_examples
print({"torch", "scipy"} & sys.modules.keys())
"""
    assert python(code) == "set()"


@pytest.mark.parametrize("name", ["estimate_strength", "rank_preferences"])
def test_without_scipy_the_extra_is_named(name):
    code = f"""
import sys
sys.modules["scipy"] = None
from amulet_integrations import errors, learning
try:
    learning.{name}
except errors.MissingDependencyError as error:
    print(error)
"""
    assert install_command("learning") in python(code)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(EvidenceError, match="NUL character"):
        read_examples(str(tmp_path / "a\0b"))
    with pytest.raises(EvidenceError, match=r"none\.jsonl cannot be read: No such file"):
        read_examples(tmp_path / "none.jsonl")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"question": "\xe9"}')
    with pytest.raises(EvidenceError, match=r"latin\.jsonl is not in UTF-8 \(at byte 14\)"):
        read_examples(latin)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n")
    with pytest.raises(EvidenceError, match=r"empty\.jsonl has no examples"):
        read_examples(empty)
