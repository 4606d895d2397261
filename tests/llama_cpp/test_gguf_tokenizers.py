"""The tokenizers of GGUF files read texts as llama.cpp does, and others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
from tokenizers import Tokenizer, decoders, trainers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from amulet_integrations.engine.backends.llama_cpp.llama_library import library
from amulet_integrations.engine.gguf.gguf_tokenizer import NAME_ANOTHER, read_gguf_tokenizer
from amulet_integrations.engine.gguf.pre_tokenizers import PRE_TOKENIZERS
from amulet_integrations.engine.gguf.tokenizer_check import SAMPLE, check_tokenizer, has_marks
from amulet_integrations.errors import UnsupportedModelError

USER = "<\uff5cUser\uff5c>"  # which a byte-level vocabulary cannot spell
MARKERS = ["<|begin|>", "<|end|>", USER]


class VocabularyOnly:
    """llama.cpp with the vocabulary of a file, and without weights."""

    def __init__(self, path: Path) -> None:
        llama = library()
        params = llama.llama_model_default_params()
        params.vocab_only = True
        self._llama = llama
        self._model = llama.llama_model_load_from_file(str(path).encode(), params)
        self._vocab = llama.llama_model_get_vocab(self._model)
        self.n_vocab: int = llama.llama_vocab_n_tokens(self._vocab)

    def tokenize(self, text, *, add_special=False, parse_special=True) -> list[int]:
        content = text.encode()
        room = len(content) + 8
        ids = (self._llama.llama_token * room)()
        count = self._llama.llama_tokenize(
            self._vocab, content, len(content), ids, room, add_special, parse_special
        )
        return list(ids[:count])

    def __del__(self) -> None:
        self._llama.llama_model_free(self._model)


def write_vocabulary(path: Path, pre: str, *, written_as: str | None = None) -> Path:
    """Trains a small byte-level vocabulary on the sample, and writes it without weights."""
    way = PRE_TOKENIZERS[pre]
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = way.made()
    trained.decoder = decoders.ByteLevel()
    alphabet = trainers.BpeTrainer(
        vocab_size=1500,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=MARKERS,
    )
    trained.train_from_iterator([*SAMPLE * 3], alphabet)
    vocabulary = trained.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    merges = json.loads(trained.to_str())["model"]["merges"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(written_as or pre)
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in MARKERS else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_way_to_cut_texts_is_that_of_llama_cpp(pre: str, tmp_path: Path) -> None:
    file = write_vocabulary(tmp_path / "vocabulary.gguf", pre)
    tokenizer, model = read_gguf_tokenizer(file), VocabularyOnly(file)
    assert model.n_vocab == len(tokenizer)
    marks = not PRE_TOKENIZERS[pre].llama_cpp_cuts_marks
    check_tokenizer("it", tokenizer, model, NAME_ANOTHER, marks=marks)
    for text in SAMPLE:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert ids == model.tokenize(text) or (has_marks(text) and not marks)
    assert tokenizer.encode(f"a{USER}", add_special_tokens=False)[-1] == MARKERS.index(USER)


def test_a_tokenizer_that_cuts_otherwise_is_refused_with_the_first_text(tmp_path: Path) -> None:
    one = write_vocabulary(tmp_path / "one.gguf", "llama-bpe", written_as="qwen2")
    other = write_vocabulary(tmp_path / "other.gguf", "llama-bpe")
    with pytest.raises(UnsupportedModelError) as caught:
        check_tokenizer("model='x'", read_gguf_tokenizer(one), VocabularyOnly(other), NAME_ANOTHER)
    message = str(caught.value)
    assert message.startswith("model='x' reads '0 7 42 365 2024")
    assert "tokenizer_name='owner/model'" in message


def test_a_larger_vocabulary_is_refused_with_both_sizes(tmp_path: Path) -> None:
    file = write_vocabulary(tmp_path / "it.gguf", "qwen2")
    tokenizer, model = read_gguf_tokenizer(file), VocabularyOnly(file)
    tokenizer.add_tokens(["another one"])
    with pytest.raises(
        UnsupportedModelError, match=rf"{model.n_vocab:,} tokens, and its tokenizer"
    ):
        check_tokenizer("it", tokenizer, model, NAME_ANOTHER)
