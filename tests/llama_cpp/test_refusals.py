"""Files that are no models, or not of the kind that the engine decodes with."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.errors import InvalidParamsError, ModelNotFoundError, UnsupportedModelError
from tests.contract.subjects import tiny_gguf
from tests.llama_cpp.tiny_gguf import write_tiny_gguf, write_tiny_mamba
from tests.support.tiny import tiny_model, tiny_tokenizer


def test_a_missing_file():
    with pytest.raises(ModelNotFoundError, match=r"no file '/nowhere/model\.gguf'"):
        LlamaCppModel.load("/nowhere/model.gguf")


@pytest.mark.parametrize("content", [b"", b"no GGUF", b"GGUF" + b"\xff" * 64])
def test_no_gguf(tmp_path, content):
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"cannot load .* llama\.cpp says: "):
        LlamaCppModel.load(file)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.98])
def test_a_truncated_file(tmp_path, share):
    whole = tiny_gguf().read_bytes()
    file = tmp_path / "model.gguf"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnsupportedModelError, match="It may be damaged"):
        LlamaCppModel.load(file)


def test_an_embedding_model(tmp_path):
    file = write_tiny_gguf(tmp_path / "e.gguf", tiny_model(), attention__causal=False)
    with pytest.raises(UnsupportedModelError, match="is an embedding model"):
        LlamaCppModel.load(file)


def test_a_recurrent_model(tmp_path):
    with pytest.raises(UnsupportedModelError, match="is a recurrent model, whose state cannot"):
        LlamaCppModel.load(write_tiny_mamba(tmp_path / "mamba.gguf"))


def test_more_gpus_than_there_can_be():
    with pytest.raises(InvalidParamsError, match="tensor_split has 999 shares"):
        LlamaCppModel.load(tiny_gguf(), LlamaCppOptions(tensor_split=[1.0] * 999))


def test_what_is_known_of_a_model():
    model = LlamaCppModel.load(tiny_gguf(), LlamaCppOptions(use_mmap=False))
    assert (model.architecture, model.n_vocab, model.n_ctx_train) == ("llama", 512, 640)
    assert model.metadata["llama.block_count"] == "2"
    assert "<|im_start|>" in model.metadata["tokenizer.chat_template"]
    assert tiny_tokenizer().eos_token_id in model.end_ids
    text = "<|im_start|>user\nThe sea is blue. Ünïcode 🐟<|im_end|>"
    assert model.tokenize(text) == tiny_tokenizer().encode(text)
    assert model.tokenize("<|im_end|>", parse_special=False) != [1]
    model.close()


def test_llama_cpp_prints_nothing(tmp_path, caplog):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no GGUF")
    code = (
        "from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel\n"
        f"LlamaCppModel.load({str(tiny_gguf())!r}).close()\n"
        f"try: LlamaCppModel.load({str(bad)!r})\n"
        "except ValueError: pass\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")
    with caplog.at_level(logging.DEBUG, logger="amulet_integrations"):
        LlamaCppModel.load(tiny_gguf()).close()
    assert "loaded meta data" in caplog.text
