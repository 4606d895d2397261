"""GGUF files through every door, on llama.cpp itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.gguf.gguf_header import read_header
from amulet_integrations.errors import (
    AmuletError,
    InvalidRequestError,
    UnsupportedModelError,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import CONTEXT_WINDOW, tiny_engine, tiny_model, tiny_tokenizer

QUESTION = "Why is the sea blue?"
EXACT: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": False}
OPTIONS: dict[str, Any] = {"max_tokens": 12, "min_new_tokens": 12, "preference": "Be brief."}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_model())


@pytest.fixture(scope="module")
def expected() -> str:
    """What transformers answers with the same weights."""
    return str(ChatAmulet(engine=tiny_engine(), **OPTIONS).invoke(QUESTION).content)


def test_both_wrappers_answer_and_name_the_backend(file: Path, expected: str) -> None:
    chat = ChatAmulet(model=str(file), **EXACT, **OPTIONS)
    answer = chat.invoke(QUESTION)
    assert answer.content == expected
    assert answer.response_metadata["backend"] == "llama_cpp"
    assert answer.response_metadata["model_name"] == str(file)
    response = AmuletLLM(model=str(file), **EXACT, **OPTIONS).chat(
        [ChatMessage(role="user", content=QUESTION)]
    )
    assert response.message.content == expected
    assert response.raw["backend"] == "llama_cpp"
    by_torch = ChatAmulet(model=str(file), backend="transformers", **OPTIONS).invoke(QUESTION)
    assert (by_torch.content, by_torch.response_metadata["backend"]) == (expected, "transformers")


def test_answers_follow_a_schema(file: Path) -> None:
    schema = {
        "title": "Advice",
        "type": "object",
        "properties": {"hours": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["hours"],
        "additionalProperties": False,
    }
    llm = ChatAmulet(model=str(file), max_tokens=40, preference="Be brief.")
    found = llm.with_structured_output(schema).invoke(QUESTION)
    assert found.keys() == {"hours"}
    assert found["hours"] in range(1, 10)


def test_the_engine_of_a_file_knows_window_ends_and_template(file: Path) -> None:
    with LocalEngine.from_pretrained(file, n_ctx=256, max_rows=4) as engine:
        assert engine.backend_name == "llama_cpp"
        assert engine.context_window == 256
        assert engine.end_ids == tiny_engine().end_ids
        assert engine.tokenizer.chat_template == tiny_tokenizer().chat_template
    with LocalEngine.from_pretrained(file) as engine:
        assert engine.context_window == CONTEXT_WINDOW


def test_the_embedded_model_needs_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path))
    llm = ChatAmulet(backend="llama_cpp", n_ctx=512, max_tokens=4)
    assert llm.context_window == 512
    assert llm.invoke(QUESTION).response_metadata["backend"] == "llama_cpp"
    assert [*tmp_path.iterdir()] == []


def test_a_device_that_the_library_was_not_built_for_is_refused(file: Path) -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama.cpp has a GPU")
    with pytest.raises(InvalidRequestError, match="GGML_CUDA"):
        LocalEngine.from_pretrained(file, device="cuda")


def test_a_tokenizer_of_another_model_is_refused(file: Path, tmp_path: Path) -> None:
    other = tiny_tokenizer()
    other.add_tokens([f"more{index}" for index in range(300)])
    other.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"512 tokens, and its tokenizer has the token"):
        LocalEngine.from_pretrained(file, tokenizer_name=str(tmp_path))


def damaged(file: Path, folder: Path) -> dict[str, Path]:
    content, start = file.read_bytes(), read_header(file).data_start
    made = {
        "empty": b"",
        "no gguf": b"PK\x03\x04" * 100,
        "header alone": content[:start],
        "half": content[: len(content) // 2],
        "one byte short": content[:-1],
        "zeros": b"GGUF" + bytes(500),
    }
    files = {}
    for name, data in made.items():
        files[name] = folder / f"{name}.gguf"
        files[name].write_bytes(data)
    for kind in ("bert", "clip", "mamba"):
        files[kind] = write_tiny_gguf(folder / f"{kind}.gguf", tiny_model(), architecture=kind)
    files["embedding"] = write_tiny_gguf(folder / "embedding.gguf", tiny_model(), pooling_type=1)
    return files


def test_bad_files_are_refused_by_errors_of_ours_and_nothing_is_printed(
    file: Path, tmp_path: Path
) -> None:
    files = damaged(file, tmp_path)
    code = (
        "import json, sys\n"
        "from amulet_integrations.engine import LocalEngine\n"
        "from amulet_integrations.errors import ModelError\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        LocalEngine.from_pretrained(name, backend='llama_cpp')\n"
        "    except ModelError as error:\n"
        "        print(json.dumps([type(error).__name__, str(error)]))\n"
    )
    command = [sys.executable, "-c", code, *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(files)
    assert done.stderr == ""
    assert {kind for kind, _ in said} == {"UnsupportedModelError"}
    for name, (_, message) in zip(files, said, strict=True):
        assert str(files[name]) in message


def test_wrappers_refuse_before_anything_is_loaded(file: Path, tmp_path: Path) -> None:
    for bad in damaged(file, tmp_path).values():
        if bad.stem == "mamba":  # llama.cpp tells when it is loaded
            continue
        for make in (ChatAmulet, AmuletLLM):
            with pytest.raises(AmuletError, match=bad.stem):
                make(model=str(bad))
