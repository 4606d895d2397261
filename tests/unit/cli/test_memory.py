"""`amulet memory` on a checkpoint on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amulet_integrations.engine import estimate_memory
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.unit.cli.conftest import Amulet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(made)
    tiny_tokenizer().save_pretrained(made)
    return made


def test_it_tells_what_is_computed_and_loads_nothing(amulet: Amulet, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"these are no weights")
    asked = ["--users", "3", "--tokens", "100", "--contexts", "2"]
    result = amulet("memory", str(folder), *asked)

    assert result.exit_code == 0, result.stderr
    about, columns, *rows = result.stdout.splitlines()
    assert about.endswith("billion parameters; 3 users, 2 contexts of 100 tokens each")
    assert columns.split("  ")[-1].strip() == "together"
    for row, dtype in zip(rows, ("float32", "bfloat16", "q4"), strict=True):
        found = estimate_memory(folder, dtype=dtype, users=3, tokens=100)
        sizes = (found.weight_bytes, found.cache_bytes, found.total_bytes)
        assert row.split() == [dtype, *(w for size in sizes for w in (f"{size / 1e9:.2f}", "GB"))]
    assert f"max_cache_tokens={found.cache_tokens} or more" in result.stderr


def test_its_json_holds_bytes(amulet: Amulet, folder: Path) -> None:
    result = amulet("memory", str(folder), "--dtype", "bfloat16", "--tokens", "64", "--json")
    found = estimate_memory(folder, dtype="bfloat16", tokens=64)
    told = json.loads(result.stdout)
    assert told.keys() == {"bfloat16"}
    assert told["bfloat16"]["total_bytes"] == found.total_bytes
    assert told["bfloat16"]["parameters"] == found.parameters


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--dtype", "int3"], "dtype='int3' is unknown"),
        (["--tokens", "641"], "more than the context window of 640"),
        (["--users", "0"], "Invalid value for '--users'"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(
    amulet: Amulet, folder: Path, options: list[str], told: str
) -> None:
    result = amulet("memory", str(folder), *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_config_is_enough(amulet: Amulet, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    asked = ["--tokens", "64", "--json"]
    assert (
        amulet("memory", str(tmp_path), *asked).stdout
        == amulet("memory", str(folder), *asked).stdout
    )


@pytest.mark.parametrize("content", ["{", "[1]", "", "\xff"])
def test_a_damaged_config_is_told(amulet: Amulet, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    result = amulet("memory", str(tmp_path))
    assert result.exit_code == 2
    assert f"{tmp_path}/config.json is damaged" in result.stderr.replace("\n", "")
    assert "lacks" not in result.stderr


def test_a_model_that_is_not_there_is_told(amulet: Amulet, tmp_path: Path) -> None:
    result = amulet("memory", str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
