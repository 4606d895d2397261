"""GGUF files run by transformers, and which backend runs what."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, ModelSource
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    InvalidRequestError,
    MissingDependencyError,
    ModelNotFoundError,
    UnknownArgumentError,
    UnsupportedModelError,
)
from amulet_integrations.installation import install_command
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import CONTEXT_WINDOW, tiny_engine, tiny_model, tiny_tokenizer

TEXTS = ["The sea is blue.", " two  spaces\n\n", "<|im_start|>user", "日本 🙂 123"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_model())


@pytest.fixture
def no_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts an empty llama-cpp-python of a version where packages are looked for."""

    def install(version: str) -> None:
        monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
        site = tmp_path / "site"
        info = site / f"llama_cpp_python-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: llama-cpp-python\nVersion: {version}\n")
        (site / "llama_cpp").mkdir()
        (site / "llama_cpp" / "__init__.py").write_text("raise RuntimeError('imported early')")
        monkeypatch.syspath_prepend(site)

    return install


def tokens(engine: LocalEngine) -> list[int]:
    request = GenerationRequest(
        contexts=[[5, 6, 7], [8, 9]],
        weights=(-1.0, 2.0),
        sampling=SamplingParams(max_new_tokens=12, min_new_tokens=12),
    )
    return list(engine.generate([request])[0].token_ids)


def test_transformers_runs_a_file_as_the_model_that_it_was_made_from(
    file: Path, no_llama_cpp: None, caplog: pytest.LogCaptureFixture
) -> None:
    expected = tiny_engine()
    with LocalEngine.from_pretrained(str(file)) as engine:
        assert engine.backend_name == "transformers"
        assert "llama-cpp-python is not installed" in caplog.text
        assert engine.context_window == CONTEXT_WINDOW
        assert engine.end_ids == expected.end_ids
        assert tokens(engine) == tokens(expected)
        for text in TEXTS:
            assert engine.tokenizer.encode(text) == tiny_tokenizer().encode(text)
        assert engine.tokenizer.chat_template == tiny_tokenizer().chat_template


def test_another_chat_template_counts(file: Path, tmp_path: Path, no_llama_cpp: None) -> None:
    template = "{% for m in messages %}{{ m['content'] }}|{% endfor %}"
    written = tmp_path / "mine.jinja"
    written.write_text(template)
    for given in (template, str(written)):
        with LocalEngine.from_pretrained(str(file), chat_template=given) as engine:
            assert engine.tokenizer.chat_template == template
    for wrong in ("chatml", str(tmp_path / "none.jinja")):
        with pytest.raises(InvalidParamsError, match=r"chat_template|cannot be read"):
            ChatAmulet(model=str(file), chat_template=wrong)


def test_a_named_tokenizer_stands_in_for_the_files_own(
    file: Path, tmp_path: Path, no_llama_cpp: None
) -> None:
    tiny_tokenizer(chat_template=None).save_pretrained(tmp_path)
    with LocalEngine.from_pretrained(str(file), tokenizer_name=str(tmp_path)) as engine:
        assert engine.tokenizer.encode(TEXTS[0]) == tiny_tokenizer().encode(TEXTS[0])
        assert engine.tokenizer.chat_template == tiny_tokenizer().chat_template
    with pytest.raises(ModelNotFoundError, match="tokenizer_name="):
        LocalEngine.from_pretrained(str(file), tokenizer_name=str(tmp_path / "none"))


def test_two_tokens_that_are_one_are_refused(
    file: Path, tmp_path: Path, no_llama_cpp: None
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(file.read_bytes().replace(b"[PAD485]", b"[\0AD485]"))
    with pytest.raises(UnsupportedModelError, match=r"its tokens \d+ and 485 are both '\['"):
        LocalEngine.from_pretrained(str(damaged))


def test_a_file_of_a_folder_is_named_by_gguf_file(file: Path, no_llama_cpp: None) -> None:
    for make in (ChatAmulet, AmuletLLM):
        llm = make(model=file.parent, gguf_file=file.name)
        assert llm.context_window == CONTEXT_WINDOW
        again = make.model_validate(llm.model_dump())
        assert again.source.key == llm.source.key
    with pytest.raises(ModelNotFoundError, match=r"there is no file .*In that folder .*tiny\.gguf"):
        ChatAmulet(model=file.parent, gguf_file="none.gguf")
    with pytest.raises(InvalidRequestError, match="which is a file already"):
        ChatAmulet(model=file, gguf_file="tiny.gguf")


def test_one_file_has_one_key(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    (tmp_path / "link.gguf").symlink_to(file)
    names = [str(file), file, "tiny.gguf", "./tiny.gguf", str(tmp_path / "link.gguf")]
    assert len({ModelSource(name).key for name in names}) == 1
    copy = shutil.copy(file, tmp_path / "sha256-00")
    assert ModelSource(str(copy)).names_gguf


def test_auto_is_llama_cpp_for_gguf_files_alone(
    file: Path, no_llama_cpp: None, install: Any
) -> None:
    gguf, folder = str(file), str(file.parent)
    others = [ModelSource(), ModelSource("owner/model"), ModelSource(folder)]
    before = [other.key for other in others]
    assert not ModelSource(gguf).uses_llama_cpp
    install("0.3.36")
    assert ModelSource(gguf).uses_llama_cpp
    assert ModelSource(folder, gguf_file="tiny.gguf").uses_llama_cpp
    assert ModelSource("ollama:m").uses_llama_cpp
    assert [other.key for other in others] == before
    assert not any(other.uses_llama_cpp for other in others)
    assert not ModelSource(gguf, dtype="float32").uses_llama_cpp
    assert not ModelSource(gguf, attn_implementation="eager").uses_llama_cpp
    assert not ModelSource(gguf, backend="transformers").uses_llama_cpp
    assert ModelSource(backend="llama_cpp").uses_llama_cpp
    keys = {ModelSource(gguf).key, ModelSource(gguf, backend="transformers").key}
    assert len(keys) == 2
    assert ModelSource(gguf).key == ModelSource(gguf, backend="llama_cpp").key


@pytest.mark.usefixtures("no_llama_cpp")
def test_a_missing_library_is_named_with_its_extra(file: Path) -> None:
    for make in (ChatAmulet, AmuletLLM, LocalEngine.from_pretrained):
        with pytest.raises(MissingDependencyError, match=r"\[llama-cpp\]"):
            make(model=str(file), backend="llama_cpp")


def test_an_old_library_is_refused_with_both_versions(file: Path, install: Any) -> None:
    install("0.3.29")
    with pytest.raises(MissingDependencyError, match=r"0\.3\.29 is installed, and 0\.3\.30"):
        ChatAmulet(model=str(file))


def test_options_of_llama_cpp_are_given_by_their_own_names(
    file: Path, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("0.3.36")
    given: dict[str, Any] = {"n_ctx": 256, "n_gpu_layers": 0, "type_k": "q8_0"}
    for make in (ChatAmulet, AmuletLLM):
        llm = make(model=str(file), **given)
        assert llm.llama_cpp_options == LlamaCppOptions(**given)
        assert llm.context_window == 256
        assert llm.model_dump(mode="json")["llama_cpp_options"] == given
        same = make(model=str(file), llama_cpp_options=given)
        assert same.source.key == llm.source.key
        mixed = make(model=str(file), n_ctx=256, llama_cpp_options={"type_k": "q8_0"})
        assert mixed.llama_cpp_options == LlamaCppOptions(n_ctx=256, type_k="q8_0")
        with pytest.raises(InvalidParamsError, match=rf"n_ctx=9,999 .* {CONTEXT_WINDOW} tokens"):
            make(model=str(file), n_ctx=9999)
        with pytest.raises(InvalidParamsError, match="n_threads=0"):
            make(model=str(file), n_threads=0)
        with pytest.raises(UnknownArgumentError, match="did you mean 'n_gpu_layers'"):
            make(model=str(file), n_gpu_layer=1)
    monkeypatch.setenv("AMULET_DTYPE", "bfloat16")
    assert ChatAmulet(model=str(file), backend="llama_cpp").source.uses_llama_cpp


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"backend": "llamacpp"}, AmuletError, "llamacpp"),
        ({"backend": "llama_cpp", "model": "owner/model"}, InvalidRequestError, "names none"),
        ({"backend": "llama_cpp", "dtype": "float32"}, InvalidRequestError, "has no dtype"),
        ({"backend": "transformers", "n_ctx": 64}, InvalidRequestError, "n_ctx is for llama.cpp"),
        ({"dtype": "float32", "n_ctx": 64}, InvalidRequestError, "dtype asks for it"),
        ({"model": "embedded", "n_ctx": 64}, InvalidRequestError, "say backend='llama_cpp'"),
        ({"model": "owner/model", "n_ctx": 64}, InvalidRequestError, "it is no GGUF file"),
        ({"model": "embedded", "tokenizer_name": "x"}, InvalidRequestError, "tokenizer_name='x'"),
        ({"device": "tpu"}, InvalidRequestError, "device='tpu'"),
        ({"device": "cuda", "n_gpu_layers": 0}, InvalidRequestError, "contradict"),
        ({"device": "cpu", "n_gpu_layers": 9}, InvalidRequestError, "contradict"),
        ({"llama_cpp_options": 7}, InvalidParamsError, "give a dict"),
        ({"llama_cpp_options": {"n_seq_max": 4}}, UnknownArgumentError, "max_rows"),
    ],
)
def test_what_contradicts_itself_is_refused_where_it_is_given(
    file: Path, install: Any, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    install("0.3.36")
    doors: list[Any] = [ChatAmulet, AmuletLLM]
    if "device" not in given:
        doors.append(LocalEngine.from_pretrained)
    for door in doors:
        with pytest.raises(error) as caught:
            door(**({"model": str(file)} | given))
        assert message in str(caught.value)


def test_options_of_llama_cpp_say_how_it_is_installed(file: Path, no_llama_cpp: None) -> None:
    for make in (ChatAmulet, AmuletLLM):
        for model in (str(file), "ollama:llama3.2:1b"):
            with pytest.raises(InvalidRequestError, match="n_ctx is for") as caught:
                make(model=model, n_ctx=64)
            assert str(caught.value).endswith(f"Install it with: {install_command('llama-cpp')}")


def test_a_model_in_parts_is_for_llama_cpp(tmp_path: Path, no_llama_cpp: None) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    write_tiny_gguf(first, tiny_model())
    with pytest.raises(UnsupportedModelError, match=r"00001-of-00002") as caught:
        ChatAmulet(model=str(tmp_path / "m-00002-of-00002.gguf"))
    assert "Give the first part" in str(caught.value)


def test_the_hubs_files_are_downloaded_once_by_their_names(
    file: Path, no_llama_cpp: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[Any, ...]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append((repo, *options.values()))
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    llm = ChatAmulet(model="owner/m-GGUF", gguf_file="m-Q4_0.gguf", revision="v1")
    assert llm.context_window == CONTEXT_WINDOW
    assert set(asked) == {("owner/m-GGUF", "v1", False, "m-Q4_0.gguf")}
    assert llm.of_model(str(file)).gguf_file is None


def test_the_hubs_refusals_name_the_file() -> None:
    with pytest.raises(ModelNotFoundError, match=r"owner/m', gguf_file='m\.gguf' cannot be loaded"):
        ChatAmulet(model="owner/m", gguf_file="m.gguf")
