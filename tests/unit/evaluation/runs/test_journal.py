"""A journal keeps whole lines, and says which line is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Answer
from amulet_integrations.evaluation.runs.journal import Journal
from tests.unit.evaluation import made

FULL = Path("/dev/full")


def answer(text: str = "Well.") -> Answer:
    return made.answer(text=text)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_incomplete_line_is_removed(tmp_path, kept):
    path = tmp_path / "a.jsonl"
    with Journal(path, Answer) as journal:
        for number in range(3):
            journal.add(answer(f"line {number}\u2028\n"))
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    for cut in (1, len(lines[kept]) // 2, len(lines[kept]) - 1):
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:cut])
        assert [one.text for one in Journal.read(path, Answer)] == [
            f"line {number}\u2028\n" for number in range(kept)
        ]
        with Journal(path, Answer) as journal:
            assert len(journal.lines) == kept
            journal.add(answer("new"))
        assert path.read_bytes().splitlines(keepends=True)[:kept] == lines[:kept]
        assert [one.text for one in Journal.read(path, Answer)][kept:] == ["new"]


def test_a_damaged_line_is_reported(tmp_path):
    path = tmp_path / "a.jsonl"
    with Journal(path, Answer) as journal:
        journal.add(answer(), answer())
    text = path.read_text()
    path.write_text("{}\n" + text)
    with pytest.raises(EvaluationError, match="line 1: not a line"):
        Journal(path, Answer)
    assert path.read_text() == "{}\n" + text
    # A whole last line is somebody's work as well, not what a kill leaves.
    path.write_text(text + "{}\n")
    with pytest.raises(EvaluationError, match="line 3: not a line"):
        Journal(path, Answer)
    assert path.read_text() == text + "{}\n"


def test_a_line_with_zeros_is_removed(tmp_path):
    path = tmp_path / "a.jsonl"
    with Journal(path, Answer) as journal:
        journal.add(answer())
    line = path.read_bytes()
    path.write_bytes(line + b"\0" * 20 + line[20:])
    with Journal(path, Answer) as journal:
        assert journal.lines == [answer()]
    assert path.read_bytes() == line


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_disk_is_reported(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", Answer)
    journal.close()
    journal._file = FULL.open("ab", buffering=0)
    with pytest.raises(EvaluationError, match="No space left"):
        journal.add(answer())
    journal.close()
