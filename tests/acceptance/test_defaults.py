"""The default strength on questions and wordings that it was not chosen by."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from statistics import fmean

import pytest

import amulet_integrations
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import LocalEngine
from tests.support.defaults import (
    Figures,
    ask_langchain,
    ask_llama_index,
    broken,
    figures_of,
    means,
)
from tests.support.golden import needs_questions, paper_questions

pytestmark = [pytest.mark.model, pytest.mark.acceptance, needs_questions]

TOKENS = 64
MANY = 24
AT_ONCE = 12
PREFERENCES = (
    "Keep your answer to a single short sentence.",
    "Talk like a cheerful pirate.",
    "Explain it so that a six-year-old understands.",
    "Write in a formal and polite tone.",
)
SETTINGS = {"base": {"method": "base"}, "pref": {"method": "pref"}, "default": {}}
# What answers follow from.
SOURCES = ("decoding", "engine", "prompting", "personalization")


class Journal:
    """What was measured, kept in a file, so that a run goes on where the last one was stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Figures] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                key, *figures = json.loads(line)
                self._known[key] = Figures(*figures)

    def get(self, key: str) -> Figures | None:
        return self._known.get(key)

    def add(self, key: str, figures: Figures) -> None:
        self._known[key] = figures
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, *figures]) + "\n")


@pytest.fixture
def journal(request: pytest.FixtureRequest, embedded_engine: LocalEngine) -> Journal:
    root = Path(amulet_integrations.__file__).parent
    files = sorted(file for name in SOURCES for file in _files(root / name))
    facts = [str(PRESETS["default"]), embedded_engine.fingerprint]
    code = b"".join(file.read_bytes() for file in files)
    digest = sha256(code + "\n".join(facts).encode()).hexdigest()
    return Journal(request.config.cache.mkdir("defaults") / f"{digest}.jsonl")


def _files(path: Path) -> Iterator[Path]:
    return path.rglob("*.py") if path.is_dir() else iter([path])


def kept_back() -> list[str]:
    """The last of each set, of a length that leaves an answer to be read."""
    return [question for question in paper_questions()[::-1] if len(question) < 250][:MANY]


async def measure(
    engine: LocalEngine, journal: Journal, preference: str, name: str
) -> list[Figures]:
    """Of each question's answer; one half is asked of each wrapper."""
    found = []
    questions = kept_back()
    for start in range(0, MANY, AT_ONCE):
        part = questions[start : start + AT_ONCE]
        keys = [f"{name}: {preference}: {question}" for question in part]
        if any(journal.get(key) is None for key in keys):
            ask = ask_langchain if start == 0 else ask_llama_index
            answers = await ask(engine, part, TOKENS, preference=preference, **SETTINGS[name])
            for key, question, answer in zip(keys, part, answers, strict=True):
                journal.add(key, figures_of(engine, question, preference, answer))
        found += [figures for key in keys if (figures := journal.get(key)) is not None]
    return found


async def test_answers_are_as_good_as_the_prompts_alone_and_follow_the_preference_more(
    embedded_engine: LocalEngine, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{MANY} questions, {TOKENS} tokens, {PRESETS['default']}: nll / ratio / broken"]
    by_name: dict[str, list[tuple[Figures, int]]] = {name: [] for name in SETTINGS}
    for preference in PREFERENCES:
        told = []
        for name in SETTINGS:
            figures = await measure(embedded_engine, journal, preference, name)
            mean, count = means(figures), broken(figures)
            by_name[name].append((mean, count))
            told.append(f"{name} {mean.nll:.3f} / {mean.ratio:+.3f} / {count}")
        lines.append(f"{preference}: {', '.join(told)}")
    overall = {name: means([mean for mean, _ in each]) for name, each in by_name.items()}
    counts = {name: fmean(count for _, count in each) for name, each in by_name.items()}
    gain = overall["default"].ratio - overall["base"].ratio
    prompted = overall["pref"].ratio - overall["base"].ratio
    lines += [
        f"{name}: {mean.nll:.3f} / {mean.ratio:+.3f} / {counts[name]:.2f}"
        for name, mean in overall.items()
    ]
    lines.append(f"as far from base as pref's, times {gain / prompted:.2f}")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert counts["default"] <= counts["pref"] + 1
    assert overall["default"].nll <= overall["pref"].nll + 0.15
    assert gain >= 1.4 * prompted
