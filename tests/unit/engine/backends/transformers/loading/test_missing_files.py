"""A model that is not there is refused where it is named, with what is missing and what to give."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub import errors as hub_errors
from transformers import AutoConfig

from amulet_integrations.engine import LocalEngine, ModelSource
from amulet_integrations.engine.backends.transformers.loading import hub_reach, loader
from amulet_integrations.engine.backends.transformers.loading.loader import read_config
from amulet_integrations.engine.encoders.sentence_encoder import (
    SentenceEncoder,
    has_embedded_encoder,
)
from amulet_integrations.errors import ModelNotFoundError
from amulet_integrations.evaluation.metrics.relevance import RelevanceScorer
from amulet_integrations.evaluation.metrics.reward_model import RewardModelScorer
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model, tiny_tokenizer

DOORS: dict[str, Callable[[str], Any]] = {
    "ChatAmulet": lambda model: ChatAmulet(model=model),
    "a call": lambda model: ChatAmulet(engine=ScriptedEngine()).invoke("Hi", model=model),
    "AmuletLLM": lambda model: AmuletLLM(model=model),
    "from_pretrained": LocalEngine.from_pretrained,
}

NAMES = {
    "./nothere": ["no folder {here}/nothere", "'embedded'"],
    "~/nothere-at-all": ["no folder /"],
    "{here}/nothere": ["no folder {here}/nothere"],
    "a/b/c": ["no folder {here}/a/b/c"],
    "./whol": ["Did you mean 'whole'?"],
    "nothere": ["no folder {here}/nothere", "not in the cache", "HF_HUB_OFFLINE"],
    "no/such": ["no folder {here}/no/such", "not in the cache", "HF_HUB_OFFLINE"],
    "a b": ["no folder {here}/a b", "'owner/name'"],
    "models/none.gguf": ["no file {here}/models/none.gguf", "GGUF"],
    "none.gguf": ["no file {here}/none.gguf. In that folder there is x.gguf."],
    "embeded": ["Did you mean 'embedded'?"],
    "llama3.2:1b": ["Hugging Face id", "search=llama3.2", "give 'ollama:llama3.2:1b'"],
    "owner/model:latest": ["Ollama"],
    "https://huggingface.co/owner/model/tree/main": ["Give the id: 'owner/model'"],
    "empty": ["{here}/empty has no config.json. It is empty."],
    "above": ["above/inside has one"],
    "whole/config.json": ["it is a file", "Give its folder: '{here}/whole'"],
    "notes.txt": ["it is a file", "local folder"],
    "no-config": ["no config.json", "model.safetensors"],
    "no-tokenizer": ["lacks a tokenizer"],
    "no-weights": ["lacks weights (model.safetensors"],
    "no-part": ["lacks model-2.safetensors"],
    "only-config": ["lacks weights", "and a tokenizer"],
    "adapter": ["holds an adapter", "'owner/base'", "merge_and_unload"],
    "ggufs": ["no config.json, but GGUF files. Name one: gguf_file='model.gguf'"],
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models of which something is missing, and one that is whole."""
    here = tmp_path_factory.mktemp("models")

    def save(name: str, *lost: str) -> Path:
        tiny_model().save_pretrained(here / name)
        tiny_tokenizer().save_pretrained(here / name)
        for file in lost:
            (here / name / file).unlink()
        return here / name

    save("whole")
    save("above/inside")
    save("no-config", "config.json")
    save("no-tokenizer", "tokenizer.json")
    save("no-weights", "model.safetensors")
    save("only-config", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    parts = save("no-part", "model.safetensors")
    (parts / "model.safetensors.index.json").write_text(json.dumps(index))
    (parts / "model-1.safetensors").touch()
    for folder, file, text in (
        ("empty", None, ""),
        ("adapter", "adapter_config.json", '{"base_model_name_or_path": "owner/base"}'),
        ("ggufs", "model.gguf", ""),
        (".", "x.gguf", ""),
        (".", "notes.txt", ""),
    ):
        (here / folder).mkdir(exist_ok=True)
        if file is not None:
            (here / folder / file).write_text(text)
    return here


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_said_where_the_model_is_named(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    model = name.format(here=here)
    folder = Path(model).expanduser()
    shown = str(folder.absolute() if folder.is_dir() or "~" in model else model)
    for door in DOORS.values():
        with pytest.raises(ModelNotFoundError) as caught:
            door(model)
        message = str(caught.value)
        assert message.startswith(f"model={shown!r} cannot be loaded: ")
        for part in NAMES[name]:
            assert part.format(here=here) in message
        for raw in ("alphanumeric", "sentencepiece", "couldn't connect"):
            assert raw not in message


def test_a_whole_model_is_taken(here: Path) -> None:
    assert ChatAmulet(model=str(here / "whole")).context_window > 0


def _answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/o/m"))


@pytest.mark.parametrize(
    ("cause", "part"),
    [
        (hub_errors.GatedRepoError("x", response=_answer(403)), "https://huggingface.co/o/m"),
        (hub_errors.RepositoryNotFoundError("x", response=_answer(404)), "no model of this name"),
        (hub_errors.RevisionNotFoundError("x", response=_answer(404)), "no revision 'nightly'"),
        (hub_errors.EntryNotFoundError("x"), "no config.json"),
        (hub_errors.LocalEntryNotFoundError("x"), "not in the cache"),
        (ConnectionError("x"), "not in the cache"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_the_hub_says_is_put_into_words(
    cause: Exception, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't") from cause

    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    with pytest.raises(ModelNotFoundError, match=part):
        ChatAmulet(model="o/m", revision="nightly")


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Nothing but the hub's cache, which is empty; what was asked of the network, and slept."""
    asked: list[object] = []

    def refuse(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for module in (constants, file_download.constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", lambda seconds: asked.append(f"{seconds:g} s"))
    return asked


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda: LocalEngine.from_pretrained("o/m"), "local folder. Or.*: hf download o/m$"),
        (
            lambda: LocalEngine.from_pretrained("o/m", gguf_file="x.gguf"),
            "local GGUF file. Or.*: hf download o/m x.gguf$",
        ),
        (lambda: LocalEngine.from_pretrained("o/m", revision="v1"), "o/m --revision v1$"),
        (lambda: SentenceEncoder.from_pretrained("o/m"), "hf download o/m"),
        (lambda: RewardModelScorer.from_pretrained("o/m"), "hf download o/m"),
    ],
    ids=["model", "GGUF file", "revision", "encoder", "reward model"],
)
def test_without_a_network_the_hub_is_asked_twice_and_what_helps_is_said(
    no_network: list[object], load: Callable[[], object], told: str
) -> None:
    with pytest.raises(ModelNotFoundError, match=f"cannot be reached .*not known.*{told}"):
        load()
    assert no_network[-2:] == ["1 s", "huggingface.co"]
    assert [it for it in no_network if it != "huggingface.co"] == ["1 s"]


def test_the_embedded_models_need_no_network(
    here: Path, no_network: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "embedded_model_path", lambda: here / "whole")
    read_config(ModelSource("embedded"))
    if has_embedded_encoder():
        SentenceEncoder.from_pretrained("embedded")
    assert no_network == []


def cached(model: Path, cache: Path) -> None:
    """Puts a model into the hub's cache, as o/m."""
    snapshot = cache / "models--o--m" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(model, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)


def test_what_is_in_the_cache_is_read_there_at_once_where_there_is_no_network(
    here: Path, no_network: list[object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached(here / "whole", tmp_path)
    LocalEngine.from_pretrained("o/m").close()
    assert set(no_network) == {"huggingface.co"}  # nobody slept
    assert "model='o/m' is read from the cache" in caplog.text


@pytest.mark.parametrize("part", ["no-weights", "no-tokenizer", "only-config"])
def test_what_is_partly_in_the_cache_is_refused_at_once_where_there_is_no_network(
    here: Path, no_network: list[object], tmp_path: Path, part: str
) -> None:
    cached(here / part, tmp_path)
    with pytest.raises(ModelNotFoundError):
        LocalEngine.from_pretrained("o/m")
    assert set(no_network) == {"huggingface.co"}


def test_a_hub_that_answers_is_reached_whatever_failed_before(
    no_network: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object, **__: object) -> None:
        raise hub_errors.RepositoryNotFoundError("x", response=_answer(404))

    monkeypatch.setattr(hub_reach, "get_hf_file_metadata", answer)
    monkeypatch.setattr(AutoConfig, "from_pretrained", answer)
    try:
        httpx.get("https://example.org")
    except httpx.ConnectError:
        with pytest.raises(ModelNotFoundError, match="no model of this name"):
            LocalEngine.from_pretrained("o/m")
    assert no_network == ["example.org"]


@pytest.mark.parametrize("name", ["./nothere", "nothere", "llama3.2:1b", "empty"])
def test_scorers_say_the_same_of_their_models(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    for door in (RelevanceScorer, RewardModelScorer):
        with pytest.raises(ModelNotFoundError) as caught:
            door.from_pretrained(name)
        assert NAMES[name][0].format(here=here) in str(caught.value)
        assert "config, tokenizer and weights, or 'embedded'" not in str(caught.value)
        assert "ollama:" not in str(caught.value)


def test_scorers_read_no_gguf_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    for name in ("x.gguf", "ggufs"):
        with pytest.raises(ModelNotFoundError, match="checkpoint that it was made from"):
            RewardModelScorer.from_pretrained(name)
