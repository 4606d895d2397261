"""Questions from files, and from a hub that is replaced."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from amulet_integrations.errors import EvaluationError, MissingDependencyError
from amulet_integrations.evaluation import Question, read_questions
from amulet_integrations.evaluation.data.questions import questions_digest


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path, **options):
    return [(question.index, question.text) for question in read_questions(path, **options)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"index": 3, "question": "Why?"}, {"index": 5, "question": "Où, ça?"}]'),
        ("a.json", '{"index": 3, "question": "Why?"}\n{"index": 5, "question": "Où, ça?"}\n'),
        ("a.jsonl", '{"index": 3, "prompt": "Why?"}\n\n{"index": 5, "prompt": "Où, ça?"}\n'),
        ("a.csv", 'index,instruction\r\n3,Why?\r\n5,"Où, ça?"\r\n'),
        ("a.CSV", '\ufeffinstruction,index\nWhy?,3\n"Où, ça?",5\n'),
    ],
)
def test_all_file_formats_give_the_same_questions(tmp_path, name, text):
    path = written(tmp_path, name, text)
    assert read(path) == [(3, "Why?"), (5, "Où, ça?")]
    assert {question.data_set for question in read_questions(str(path))} == {"a"}


def test_plain_strings_are_questions(tmp_path):
    assert read(written(tmp_path, "a.json", '["Why?", "How?"]')) == [(0, "Why?"), (1, "How?")]


def test_without_an_index_rows_are_counted(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"question": "a?"}\n{"question": "b?"}\n')
    assert read(path) == [(0, "a?"), (1, "b?")]


def test_texts_are_not_changed(tmp_path):
    path = written(tmp_path, "a.json", json.dumps([{"question": " Why?\r"}]))
    assert read(path) == [(0, " Why?\r")]


def test_the_field_can_be_named(tmp_path):
    path = written(tmp_path, "a.json", '[{"question": "no", "ask": "Why?"}]')
    assert read(path, field="ask") == [(0, "Why?")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '[{"text": "Why?"}]',
            "no field question or prompt or instruction. It has: text",
        ),
        ("a.json", "[]", "no questions"),
        ("a.jsonl", "\n", "no questions"),
        ("a.csv", "question\n", "no questions"),
        ("a.json", '{"question": "Why?"}', "no list"),
        ("a.json", "[1]", "entry 1: a int"),
        ("a.json", '[{"question": "a"},', "line 1: not JSON"),
        ("a.json", "[" * 100_000, "nested too deeply|not JSON"),
        ("a.jsonl", '{"question": "a"}\n{\n', "line 2: not JSON"),
        ("a.json", '[{"question": " "}]', "question 1: text=' ': it is blank"),
        ("a.json", '[{"question": 7}]', "question 1: text=7: input should be a valid string"),
        ("a.json", '["\\ud800"]', "surrogate"),
        ("a.json", '[{"question": "a", "index": 1.5}]', "index=1.5"),
        ("a.json", '[{"question": "a", "index": true}]', "index=True"),
        ("a.json", '[{"question": "a", "index": 3.0}]', "index=3.0"),
        ("a.json", '[{"question": "a", "index": "-3"}]', "index='-3'"),
        ("a.csv", "index,question\nx,a\n", "index='x'"),
        ("a.csv", "index,question\n3.0,a\n", "index='3.0'"),
        ("a.csv", "index,question\n1,a,b\n", "as many cells"),
        (
            "a.json",
            '[{"question": "a", "index": 1}, {"question": "b", "index": 1}]',
            "Two questions of 'a' have the index 1",
        ),
        ("a.txt", "Why?", "ends in .txt"),
        ("a.json", b"\xff\xfe", "not in UTF-8"),
    ],
)
def test_invalid_files_are_refused(tmp_path, name, text, message):
    path = written(tmp_path, name, text)
    with pytest.raises(EvaluationError, match=message):
        read_questions(path)


def test_the_file_is_named_in_the_error(tmp_path):
    with pytest.raises(EvaluationError, match=r"nothing\.json.*truthful_qa"):
        read_questions(tmp_path / "nothing.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(EvaluationError, match=r"There is no file .*folder\.json"):
        read_questions(tmp_path / "folder.json")


def test_two_data_sets_of_one_name_are_refused(tmp_path):
    (tmp_path / "b").mkdir()
    paths = [written(folder, "a.json", '["Why?"]') for folder in (tmp_path, tmp_path / "b")]
    with pytest.raises(EvaluationError, match="Two data sets are called 'a'"):
        read_questions(paths)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_file_and_a_question_do_not_make_one_set(tmp_path, turn):
    path = written(tmp_path, "a.json", '["Why?"]')
    alone = Question(data_set="a", index=7, text="How?")
    with pytest.raises(EvaluationError, match="Two data sets are called 'a'"):
        read_questions([path, alone][::turn])


@pytest.mark.parametrize("given", ["Why is the sea blue? " * 100, "Why?\0", "."])
def test_a_missing_file_is_refused(given):
    with pytest.raises(EvaluationError, match="There is no file"):
        read_questions(given)


def test_a_missing_field_is_reported_with_the_option_that_names_it(tmp_path):
    path = written(tmp_path, "a.json", '[{"text": "Why?"}]')
    with pytest.raises(EvaluationError, match=r"It has: text\..*--data-field, field="):
        read_questions(path)


def test_no_source_is_refused():
    with pytest.raises(EvaluationError, match="no question"):
        read_questions([])


def test_questions_may_be_given_themselves():
    own = [Question(data_set="own", index=index, text=f"{index}?") for index in (4, 2)]
    assert read_questions(own) == tuple(own)
    with pytest.raises(EvaluationError, match="index 4"):
        read_questions([own[0], own[0]])


def test_the_same_seed_draws_the_same_sample(tmp_path):
    path = written(tmp_path, "a.json", json.dumps([f"{n}?" for n in range(50)]))
    other = written(tmp_path, "b.json", json.dumps([f"{n}!" for n in range(50)]))
    first = read_questions(path, sample=7, seed=1)
    assert len(set(first)) == 7
    assert list(first) == sorted(first, key=lambda question: question.index)
    assert read_questions(path, sample=7, seed=1) == first
    assert read_questions(path, sample=7, seed=2) != first
    # Another set beside it changes nothing.
    assert read_questions([other, path], sample=7, seed=1)[7:] == first
    assert len(read_questions(path, sample=500)) == 50
    with pytest.raises(EvaluationError, match="sample=0"):
        read_questions(path, sample=0)


def test_samples_are_fair(tmp_path):
    path = written(tmp_path, "a.json", json.dumps([f"{n}?" for n in range(10)]))
    drawn = [q.index for seed in range(200) for q in read_questions(path, sample=3, seed=seed)]
    assert all(30 < drawn.count(index) < 95 for index in range(10))


def test_a_digest_tells_questions_apart():
    def of(*texts):
        return questions_digest(
            Question(data_set="a", index=n, text=text) for n, text in enumerate(texts)
        )

    assert of("a", "b") == of("a", "b")
    assert len({of("a", "b"), of("b", "a"), of("a"), of("ab")}) == 4


@pytest.fixture
def hub(monkeypatch):
    """A package `datasets` that records its calls."""
    module = ModuleType("datasets")
    module.rows, module.calls = [], []

    def load_dataset(*args, **options):
        module.calls.append((*args, options))
        if isinstance(module.rows, Exception):
            raise module.rows
        return module.rows

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_truthful_qa(hub):
    hub.rows = [{"question": "Why?", "best_answer": "x"}, {"question": "How?"}]
    assert read("truthful_qa") == [(0, "Why?"), (1, "How?")]
    assert hub.calls == [("truthfulqa/truthful_qa", "generation", {"split": "validation"})]


def test_a_question_in_several_rows_is_read_once(hub):
    hub.rows = [{"prompt": text} for text in ("a", "a", "b", "a")]
    assert read("helpsteer") == [(0, "a"), (2, "b")]
    assert hub.calls == [("nvidia/HelpSteer", None, {"split": "train"})]


def test_ultrachat_is_a_part_of_ultrafeedback(hub):
    sources = ["evol", "ultrachat", "truthful_qa", "ultrachat"]
    hub.rows = [{"instruction": f"{n}", "source": name} for n, name in enumerate(sources)]
    assert read("ultrachat") == [(1, "1"), (3, "3")]


def test_personal_preference_eval(hub):
    hub.rows = [{"question": "Why?", "index": 9}]
    assert read("personal_preference_eval", field="ignored here") == [(0, "Why?")]


def test_an_unreachable_hub_is_reported(hub):
    hub.rows = ConnectionError("no route\nto host")
    with pytest.raises(EvaluationError, match=r"nvidia/HelpSteer on the hub.*no route to host"):
        read_questions("helpsteer")


def test_the_missing_package_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[evaluation\]"):
        read_questions("helpsteer")
