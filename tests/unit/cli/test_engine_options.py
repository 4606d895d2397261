"""Options that say how a command's engine is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amulet_integrations import PreferenceProfile, SqlProfileStore
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import UnsupportedModelError
from tests.unit.cli.conftest import Amulet

QUESTION, PREFERENCE = "What is rain?", ("--preference", "Be brief.")


@pytest.fixture
def commands(tmp_path: Path, db: str) -> dict[str, tuple[str, ...]]:
    """Each command that loads a model."""
    with SqlProfileStore(db) as store:
        store.save(PreferenceProfile(user_id="ann", preferences=("Be brief.",)))
    liked = tmp_path / "liked.jsonl"
    liked.write_text(json.dumps({"question": QUESTION, "accepted": "Water."}))
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "user", "content": QUESTION}]))
    data = tmp_path / "questions.json"
    data.write_text(json.dumps([{"question": QUESTION}]))
    evaluated = ("--relevance", "none", "--output", str(tmp_path / "out"))
    return {
        "chat": ("chat",),
        "compare": ("compare", QUESTION, *PREFERENCE),
        "explain": ("explain", QUESTION, *PREFERENCE, "--no-page"),
        "evaluate": ("evaluate", "--data", str(data), *evaluated),
        "sweep": ("sweep", QUESTION, *PREFERENCE, "--relevance", "none", "--no-page"),
        "suggest": ("profile", "suggest", "ann", str(messages), "--profiles", db, "--json"),
        "learn": ("profile", "learn", "ann", str(liked), "--profiles", db, "--dry-run"),
        "rank": ("profile", "learn", "ann", str(liked), "--profiles", db, "--among", "Be kind."),
    }


@pytest.mark.parametrize(
    "name", ["chat", "compare", "explain", "evaluate", "sweep", "suggest", "learn", "rank"]
)
def test_every_command_that_loads_a_model_hands_options_to_the_engine(
    amulet: Amulet,
    commands: dict[str, tuple[str, ...]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    def from_pretrained(model: str, **options: object) -> LocalEngine:
        loaded.append((model, options))
        raise UnsupportedModelError("It ends here.")

    monkeypatch.setattr(LocalEngine, "from_pretrained", from_pretrained)
    given = ("--engine-option", "n-ctx=512", "--engine-option", "type_k=q8_0")
    result = amulet(*commands[name], "--model", "a.gguf", *given, stdin="Hello\n")
    assert "It ends here." in result.stderr
    options = {"n_ctx": 512, "type_k": "q8_0"}
    assert loaded == [("a.gguf", {"backend": "auto", "dtype": "auto", **options})]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_rows", "'max_rows': write a name, '=' and a value"),
        ("model=a.gguf", "give --model"),
        ("backend=llama_cpp", "give --backend"),
        ("max_row=4", "did you mean 'max_rows'?"),
        ("max_rows=-4", "max_rows=-4"),
        ("n_ctx=-5", "0 or more"),
        ("n_ctx=64", "n_ctx is for llama.cpp"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    amulet: Amulet, option: str, message: str
) -> None:
    result = amulet("explain", QUESTION, *PREFERENCE, "--no-page", "--engine-option", option)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_dtype_is_given_once(amulet: Amulet, commands: dict[str, tuple[str, ...]]) -> None:
    twice = ("--dtype", "bfloat16", "--engine-option", "dtype=float32")
    result = amulet(*commands["sweep"], *twice)
    assert result.exit_code == 2
    assert "give --dtype" in result.stderr
