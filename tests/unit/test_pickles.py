"""No pickle is read: neither the weights of a checkpoint, nor a file of the package's own."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaForSequenceClassification

import amulet_integrations
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import UnsupportedModelError
from amulet_integrations.evaluation import RelevanceScorer, RewardModelScorer
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.support.tiny import tiny_model, tiny_tokenizer

DOORS: dict[str, Callable[[str], Any]] = {
    "ChatAmulet": lambda model: ChatAmulet(model=model),
    "AmuletLLM": lambda model: AmuletLLM(model=model),
    "LocalEngine": LocalEngine.from_pretrained,
    "own code": lambda model: LocalEngine.from_pretrained(model, trust_remote_code=True),
    "RewardModelScorer": RewardModelScorer.from_pretrained,
    "RelevanceScorer": RelevanceScorer.from_pretrained,
}

# What planted each pickle: the name of its file, and the file that leads to it, if there is one.
PLACES = {
    "alone": ("pytorch_model.bin", None, None),
    "parts": (
        "pytorch_model-1.bin",
        "pytorch_model.bin.index.json",
        {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model-1.bin"}},
    ),
    "a safe index": (
        "part-1.bin",
        "model.safetensors.index.json",
        {"metadata": {}, "weight_map": {"lm_head.weight": "part-1.bin"}},
    ),
    "the config": (
        "adapter_model.bin",
        "config.json",
        {"transformers_weights": "adapter_model.bin"},
    ),
}


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each kind of model, without its weights."""
    causal = tiny_model()
    encoder = BertModel(
        BertConfig(
            vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
            intermediate_size=8,
        )
    )  # fmt: skip
    kinds = {
        "RewardModelScorer": LlamaForSequenceClassification(causal.config),
        "RelevanceScorer": encoder,
        "": causal,
    }
    folders = {}
    for kind, model in kinds.items():
        folders[kind] = folder = tmp_path_factory.mktemp("checkpoint")
        model.save_pretrained(folder)
        (folder / "model.safetensors").unlink()
        tiny_tokenizer().save_pretrained(folder)
    return folders


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("door", DOORS)
def test_a_pickle_among_the_weights_is_refused_unread(
    checkpoints: dict[str, Path], tmp_path: Path, door: str, place: str
) -> None:
    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(checkpoints.get(door, checkpoints[""]), folder)
    pickle, leader, content = PLACES[place]
    torch.save({"lm_head.weight": Planted(trace)}, folder / pickle)
    if leader is not None:
        there = folder / leader
        before = json.loads(there.read_text()) if there.exists() else {}
        there.write_text(json.dumps({**before, **content}))
    with pytest.raises(UnsupportedModelError) as caught:
        DOORS[door](str(folder))
    assert not trace.exists()
    assert str(folder) in str(caught.value)
    assert ".bin" in str(caught.value)
    assert "save_pretrained(new)" in str(caught.value)
    # The plant works: a reader of pickles would have run it.
    torch.load(folder / pickle, weights_only=False)
    assert trace.exists()


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    torch.save({"lm_head.weight": Planted(tmp_path / "trace")}, tmp_path / "pytorch_model.bin")
    LocalEngine.from_pretrained(str(tmp_path)).close()
    assert not (tmp_path / "trace").exists()


def test_the_hub_gives_no_pickle_either(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    cached = tmp_path / "models--owner--name"
    shutil.copytree(checkpoints[""], cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    weights = cached / "snapshots" / commit / "pytorch_model.bin"
    torch.save({"lm_head.weight": Planted(tmp_path / "trace")}, weights)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnsupportedModelError, match=r"'owner/name' .*pytorch_model\.bin"):
        LocalEngine.from_pretrained("owner/name", local_files_only=True)
    assert not (tmp_path / "trace").exists()


def test_the_package_reads_no_pickles() -> None:
    unsafe = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    readers = {"load", "loads", "Unpickler"}
    for file in Path(amulet_integrations.__file__).parent.rglob("*.py*"):
        if file.suffix not in {".py", ".pyi"}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
                # pickle.dumps tells whether an object can be pickled; nothing is read.
                assert not names & (unsafe - {"pickle"}), file
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in unsafe, file
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                unread = node.value.id not in {"pickle", "torch"} or node.attr not in readers
                assert unread, f"{file}:{node.lineno}"
