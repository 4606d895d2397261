"""GGUF files that hold no language model, or not all of one, are refused before they are loaded."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from amulet_integrations.engine.gguf.gguf_check import check_model_file
from amulet_integrations.engine.gguf.gguf_header import GGUFArray, begins_as_gguf, read_header
from amulet_integrations.engine.gguf.rope_factors import RopeFactors
from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import CONTEXT_WINDOW, tiny_model

_U64 = 2**64 - 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "whole.gguf", tiny_model())


def small(
    path: Path, architecture: str = "llama", tensor: str = "token_embd.weight", **entries: object
) -> Path:
    """A file with a few entries and one tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_token_list(["a", "b"])
    writer.add_tokenizer_model("gpt2")
    for name, value in entries.items():
        key = name.replace("__", ".")
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_tensor(tensor, np.zeros((2, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_header_is_what_the_library_gguf_reads(whole: Path) -> None:
    header, reader = read_header(whole), gguf.GGUFReader(whole)
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        found, expected = header.metadata[name], field.contents()
        if isinstance(found, GGUFArray):
            assert found.length == len(expected)
        else:
            assert found == expected
    assert {*header.tensors} == {it.name for it in reader.tensors}
    for tensor in reader.tensors:
        found = header.tensors[tensor.name]
        assert header.data_start + found.offset == tensor.data_offset
        assert [*found.shape] == tensor.shape.tolist()
    kept = read_header(whole, arrays=["tokenizer.ggml.tokens"]).metadata["tokenizer.ggml.tokens"]
    assert isinstance(kept, GGUFArray)
    assert list(kept.values) == reader.fields["tokenizer.ggml.tokens"].contents()
    assert check_model_file(whole).of_model("context_length", 0) == CONTEXT_WINDOW


def test_every_truncation_is_refused(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    start = read_header(whole).data_start
    cut = tmp_path / "cut.gguf"
    for length in [*range(400), *range(400, start, 97), start, start + 1, len(content) - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(UnsupportedModelError, match=str(cut)):
            check_model_file(cut)
    with pytest.raises(UnsupportedModelError, match=f"{len(content) - 1:,} bytes"):
        check_model_file(cut)


def number(value: int, form: str = "<Q") -> bytes:
    return struct.pack(form, value)


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def built(entries: bytes = b"", *, count: int = 0, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + number(version, "<I") + number(tensors) + number(count) + entries


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no GGUF file"),
    "another kind of file": (b"PK\x03\x04" * 9, "no GGUF file: it begins with b'PK"),
    "the first version": (built(version=1), "version 1"),
    "big-endian": (built(version=3 << 24), "version 50,331,648"),
    "many entries": (built(count=_U64), "names 18,446,744,073,709,551,615 entries"),
    "many tensors": (built(tensors=2**40), "names 1,099,511,627,776 tensors"),
    "more entries than bytes": (built(count=9), "names 9 entries"),
    "a long key": (built(number(_U64) + b"x" * 40, count=1), "a string of"),
    "a long value": (
        built(text(b"k") + number(8, "<I") + number(2**50) + b"x" * 40, count=1),
        "a string of 1,125,899,906,842,624 bytes",
    ),
    "many strings": (
        built(text(b"k") + number(9, "<I") + number(8, "<I") + number(2**60) + b"x" * 40, count=1),
        "strings in 'k'",
    ),
    "a long array": (
        built(text(b"k") + number(9, "<I") + number(4, "<I") + number(2**62) + b"x" * 40, count=1),
        "cut short",
    ),
    "arrays in arrays": (
        built(text(b"k") + number(9, "<I") + number(9, "<I") + number(2**40) + b"x" * 40, count=1),
        "unknown kind 9",
    ),
    "an unknown kind": (built(text(b"k") + number(77, "<I") + b"x" * 40, count=1), "kind 77"),
    "many dimensions": (
        built(text(b"t") + number(2**31, "<I") + b"x" * 40, tensors=1),
        "2,147,483,648 dimensions",
    ),
    "a huge tensor": (
        built(
            text(b"general.architecture") + number(8, "<I") + text(b"llama")
            + text(b"t") + number(2, "<I") + number(2**40) * 2 + number(0, "<I") + number(0),
            count=1,
            tensors=1,
        ),
        "without a vocabulary",
    ),
    "an odd alignment": (
        built(text(b"general.alignment") + number(4, "<I") + number(48, "<I"), count=1),
        "alignment is 48",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_their_header(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    file = tmp_path / "hostile.gguf"
    file.write_bytes(content)
    with pytest.raises(UnsupportedModelError) as caught:
        check_model_file(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_tensors_past_the_end_are_named_with_the_numbers(whole: Path, tmp_path: Path) -> None:
    header = read_header(whole)
    content = bytearray(whole.read_bytes())
    place = content.index(b"output_norm.weight") + len("output_norm.weight")
    struct.pack_into("<Q", content, place + 4, 2**45)  # the length of its only dimension
    file = tmp_path / "long.gguf"
    file.write_bytes(content)
    with pytest.raises(UnsupportedModelError) as caught:
        check_model_file(file)
    assert f"it has {header.size:,} bytes" in str(caught.value)
    assert "'output_norm.weight' ends at byte 140," in str(caught.value)


KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "adapter": (lambda it: small(it, general__type="adapter"), "a LoRA adapter"),
    "older adapter": (lambda it: small(it, adapter__type="lora"), "a LoRA adapter"),
    "projector": (lambda it: small(it, "clip"), "vision or audio projector"),
    "newer projector": (lambda it: small(it, general__type="mmproj"), "vision or audio projector"),
    "importance": (lambda it: small(it, general__type="imatrix"), "an importance matrix"),
    "encoder": (lambda it: small(it, "bert"), "'bert', which is an encoder"),
    "embedding": (lambda it: small(it, llama__pooling_type=3), "an embedding model"),
    "all see all": (lambda it: small(it, llama__attention__causal=False), "an embedding model"),
    "reranker": (lambda it: small(it, llama__pooling_type=4), "a reranker"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_language_model_is_named(name: str, tmp_path: Path) -> None:
    make, message = KINDS[name]
    with pytest.raises(UnsupportedModelError, match=message):
        check_model_file(make(tmp_path / "it.gguf"))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("llama__block_count", 0, "block_count is 0"),
        ("llama__block_count", 2**31, "block_count is 2,147,483,648"),
        ("llama__attention__layer_norm_rms_epsilon", -1.0, "epsilon is -1.0"),
        ("llama__attention__layer_norm_rms_epsilon", math.nan, "epsilon is nan"),
    ],
)
def test_numbers_that_would_end_the_process_are_refused(
    entry: str, value: float, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check_model_file(small(tmp_path / "it.gguf", **{entry: value}))


def test_a_small_model_passes_and_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    file = small(tmp_path / "sha256-0123")
    assert check_model_file(file).architecture == "llama"
    assert begins_as_gguf(file)
    assert not begins_as_gguf(tmp_path)
    assert not begins_as_gguf("\0")
    with pytest.raises(ModelNotFoundError, match="cannot be read"):
        read_header(tmp_path / "none")


def split(folder: Path, count: int, *, said: int | None = None) -> list[Path]:
    """A model in parts, of which each is a small file."""
    names = [f"m-{part + 1:05}-of-{count:05}.gguf" for part in range(count)]
    said = count if said is None else said
    return [small(folder / name, split__count=said, split__no=no) for no, name in enumerate(names)]


def test_a_model_in_parts_is_found_by_its_first(tmp_path: Path) -> None:
    first, second, third = split(tmp_path, 3)
    check_model_file(first)
    with pytest.raises(UnsupportedModelError, match=r"m-00001-of-00003\.gguf"):
        check_model_file(second)
    third.write_bytes(third.read_bytes()[:-1])
    with pytest.raises(UnsupportedModelError, match=r"m-00003-of-00003.gguf is cut short"):
        check_model_file(first)
    third.unlink()
    with pytest.raises(ModelNotFoundError, match=r"there is no m-00003-of-00003\.gguf"):
        check_model_file(first)


def test_a_part_under_another_name_is_refused(tmp_path: Path) -> None:
    first, _ = split(tmp_path, 2)
    with pytest.raises(UnsupportedModelError, match=r"should end in -00001-of-00002.gguf"):
        check_model_file(first.rename(tmp_path / "renamed.gguf"))


def test_two_sets_of_rotary_factors_are_found_in_any_part(tmp_path: Path) -> None:
    first, second = split(tmp_path, 2)
    assert RopeFactors.of_file(first) is None
    small(second, tensor="rope_factors_long.weight", split__count=2, split__no=1)
    key = "llama.rope.scaling.original_context_length"
    assert RopeFactors.of_file(first) == RopeFactors(key, 64)  # none is named: that of the model
    for named, expected in {32: 32, 0: 64, 100: 64}.items():
        entries = {"split__count": 2, "split__no": 0, key.replace(".", "__"): named}
        assert RopeFactors.of_file(small(first, **entries)) == RopeFactors(key, expected)
