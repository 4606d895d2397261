"""Names of Ollama's models lead to their files, in folders as Ollama makes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations.engine import ModelSource
from amulet_integrations.engine.gguf.ollama_models import ollama_file, ollama_names
from amulet_integrations.errors import ModelError, ModelNotFoundError, UnsupportedModelError
from amulet_integrations.langchain import ChatAmulet

_IMAGE = "application/vnd.ollama.image."


def keep(models: Path, place: str, *kinds: str, content: bytes = b"GGUF weights") -> list[Path]:
    """Keeps a model as Ollama does; returns its blobs."""
    blobs, layers = [], []
    for kind in kinds:
        data = content + kind.encode()
        digest = hashlib.sha256(data).hexdigest()
        layers.append({"mediaType": _IMAGE + kind, "digest": f"sha256:{digest}", "size": 1})
        blobs.append(models / "blobs" / f"sha256-{digest}")
        blobs[-1].parent.mkdir(parents=True, exist_ok=True)
        blobs[-1].write_bytes(data)
    manifest = models / "manifests" / place
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return blobs


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("llama3.2:1b", "registry.ollama.ai/library/llama3.2/1b"),
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("ann/mine:q4_K_M", "registry.ollama.ai/ann/mine/q4_K_M"),
        ("hf.co/owner/Repo-GGUF:Q8_0", "hf.co/owner/Repo-GGUF/Q8_0"),
        ("localhost:5000/ann/mine", "localhost:5000/ann/mine/latest"),
    ],
)
def test_a_name_leads_to_the_blob_of_the_weights(models: Path, name: str, place: str) -> None:
    _, weights, _ = keep(models, place, "template", "model", "projector")
    assert ollama_file(f"ollama:{name}") == weights
    (listed,) = ollama_names()
    assert ollama_file(listed) == weights


def test_the_users_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    place = "registry.ollama.ai/library/m/latest"
    (weights,) = keep(tmp_path / ".ollama" / "models", place, "model")
    assert ollama_file("ollama:m") == weights


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../etc/passwd", "a/../b", "/etc/passwd", "m:../x", "a b", "m\0", "a/b/c/d"],
)
def test_names_that_lead_elsewhere_are_refused(models: Path, name: str) -> None:
    keep(models, "registry.ollama.ai/library/m/latest", "model")
    with pytest.raises(ModelNotFoundError, match="no name of Ollama"):
        ollama_file(f"ollama:{name}")


def test_an_unknown_name_is_answered_with_those_that_are_there(models: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="It has none"):
        ollama_file("ollama:llama3.2:1b")
    keep(models, "registry.ollama.ai/library/llama3.2/1b", "model")
    with pytest.raises(ModelNotFoundError, match=r"Did you mean 'ollama:llama3\.2:1b'"):
        ollama_file("ollama:llama3.2")
    with pytest.raises(ModelNotFoundError, match="ollama pull gemma"):
        ollama_file("ollama:gemma")


def test_without_ollama_the_folder_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    with pytest.raises(ModelNotFoundError, match=r"none\. Name the folder in OLLAMA_MODELS"):
        ollama_file("ollama:m")


def test_what_cannot_be_run_is_refused(models: Path) -> None:
    place = "registry.ollama.ai/library/m/latest"
    keep(models, place, "model", "adapter")
    with pytest.raises(UnsupportedModelError, match="a base model with an adapter"):
        ollama_file("ollama:m")
    keep(models, place, "template")
    with pytest.raises(UnsupportedModelError, match="has 0 files with weights"):
        ollama_file("ollama:m")
    keep(models, place, "model")[0].unlink()
    with pytest.raises(ModelNotFoundError, match=r"is missing\. Get it again: ollama pull m"):
        ollama_file("ollama:m")


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"layers": 7}', '{"layers": [{}]}', "[" * 9999,
        json.dumps({"layers": [{"mediaType": f"{_IMAGE}model", "digest": "sha256:../../x"}]}),
        json.dumps({"layers": [{"mediaType": f"{_IMAGE}model", "digest": ["x"]}]}),
    ],
)  # fmt: skip
def test_damaged_manifests_are_refused(models: Path, content: str) -> None:
    place = "registry.ollama.ai/library/m/latest"
    keep(models, place, "model")
    (models / "manifests" / place).write_text(content)
    with pytest.raises(UnsupportedModelError, match="is damaged"):
        ollama_file("ollama:m")


def test_a_model_that_was_pulled_again_is_another(models: Path) -> None:
    place = "registry.ollama.ai/library/m/latest"
    keep(models, place, "model")
    before = ModelSource("ollama:m").key
    keep(models, place, "model", content=b"GGUF newer")
    assert ModelSource("ollama:m").key != before


def test_a_wrapper_refuses_it_where_it_is_named(models: Path) -> None:
    kwargs: dict[str, Any] = {"model": "ollama:m"}
    with pytest.raises(ModelError, match="ollama pull m"):
        ChatAmulet(**kwargs)
    keep(models, "registry.ollama.ai/library/m/latest", "model", content=b"not weights")
    with pytest.raises(ModelError, match="is no GGUF file"):
        ChatAmulet(**kwargs)
