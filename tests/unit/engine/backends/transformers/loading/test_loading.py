"""Which checkpoints load, what the others are refused with, and who shares what was loaded."""

from __future__ import annotations

import gc
import io
import json
import sys
import weakref

import pytest
import torch
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers import (
    AutoConfig,
    Llama4Config,
    Llama4ForConditionalGeneration,
    T5Config,
)
from transformers.utils import logging

from amulet_integrations import SamplingParams
from amulet_integrations.engine import (
    GenerationRequest,
    LocalEngine,
    ModelSource,
    run_on_worker,
    shared_engine,
)
from amulet_integrations.engine.backends.transformers.cpu import kernel_choice, linear_kernels
from amulet_integrations.errors import (
    InvalidParamsError,
    InvalidRequestError,
    ModelNotFoundError,
    UnknownArgumentError,
    UnsupportedModelError,
)
from tests.support.tiny import SIZES, tiny_engine, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_local_folder_loads_and_decodes_as_the_model_does(checkpoint):
    request = GenerationRequest(contexts=[[5, 6]], sampling=SamplingParams(max_new_tokens=8))
    with LocalEngine.from_pretrained(checkpoint) as engine, tiny_engine() as original:
        assert engine.generate([request]) == original.generate([request])
        assert engine.model_name == checkpoint


def test_the_dtype_is_the_requested_one(checkpoint):
    with LocalEngine.from_pretrained(checkpoint, dtype="bfloat16") as engine:
        layers = engine.backend.model.model.layers
        dtypes = {str(layer.mlp.up_proj.weight.dtype) for layer in layers}
    assert dtypes == {"torch.bfloat16"}


def test_an_unknown_model_is_an_error_that_names_it():
    with pytest.raises(ModelNotFoundError, match="no/such-model"):
        LocalEngine.from_pretrained("no/such-model", local_files_only=True)


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(ModelNotFoundError, match="cannot be loaded"):
        LocalEngine.from_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (T5Config(architectures=["T5ForConditionalGeneration"]), "T5ForConditionalGeneration"),
        (AutoConfig.for_model("bert", architectures=["BertForMaskedLM"]), "BertForMaskedLM"),
        (AutoConfig.for_model("bert", architectures=["BertModel"]), "BertModel"),
        (AutoConfig.for_model("bert", architectures=["BertLMHeadModel"]), "BertLMHeadModel"),
    ],
)
def test_models_that_are_not_decoder_only_are_refused(tmp_path, config, message):
    config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=message):
        LocalEngine.from_pretrained(str(tmp_path))


def test_of_a_whole_checkpoint_that_reads_images_the_decoder_is_loaded(tmp_path):
    torch.manual_seed(0)
    text = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size_mlp": 64}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "attention_chunk_size": 16}
    vision = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1}
    projector = dict.fromkeys(
        ["vision_output_dim", "projector_input_dim", "projector_output_dim"], 16
    )
    images = {**vision, "num_attention_heads": 2, "image_size": 28, "patch_size": 14, **projector}
    config = Llama4Config(text_config={**text, **experts}, vision_config=images)
    model = Llama4ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    ids = list(range(5, 30))
    request = GenerationRequest(contexts=[ids], sampling=SamplingParams(max_new_tokens=6))
    with LocalEngine.from_pretrained(str(tmp_path), dtype="float32") as engine:
        (answer,) = engine.generate([request])
    plain = model.language_model.generate(torch.tensor([ids]), max_new_tokens=6, use_cache=False)
    assert answer.token_ids == plain[0, len(ids) :].tolist()


def test_recurrent_models_are_refused(tmp_path):
    model = tiny_model("mamba", state_size=4)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="recurrent"):
        LocalEngine.from_pretrained(str(tmp_path))
    with pytest.raises(UnsupportedModelError, match="recurrent"):
        LocalEngine(model, tiny_tokenizer())


def test_code_that_comes_with_a_checkpoint_does_not_run(tmp_path):
    config = {
        "model_type": "own",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    trap = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(trap)!r}, 'w')")
    with pytest.raises(UnsupportedModelError, match="trust_remote_code=True"):
        LocalEngine.from_pretrained(str(tmp_path))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float31"}, InvalidRequestError, "float31"),
        ({"dtype": "int8"}, InvalidRequestError, "int8"),
        ({"device": "toaster"}, InvalidRequestError, "toaster"),
        ({"device": "cuda:93"}, InvalidRequestError, "cuda:93"),
        ({"dtype": "float8_e4m3fn"}, InvalidRequestError, "float8"),
        ({"devise": "cpu"}, UnknownArgumentError, "did you mean 'device'"),
    ],
)
def test_bad_options_are_refused(checkpoint, options, error, message):
    with pytest.raises(error, match=message):
        LocalEngine.from_pretrained(checkpoint, **options)


def test_the_same_source_shares_one_engine_until_nobody_holds_it(checkpoint):
    engine = shared_engine(ModelSource(checkpoint))
    assert shared_engine(ModelSource(checkpoint)) is engine
    assert shared_engine(ModelSource(checkpoint, dtype="bfloat16")) is not engine
    engine.close()
    again = shared_engine(ModelSource(checkpoint))
    assert again is not engine
    model = weakref.ref(again.backend.model)
    del again
    gc.collect()
    assert model() is None


def test_closing_an_engine_frees_its_model(checkpoint, monkeypatch):
    monkeypatch.setattr(kernel_choice, "choose", lambda seconds: linear_kernels.PACKED)
    engine = LocalEngine.from_pretrained(checkpoint)
    model = weakref.ref(engine.backend.model)
    engine.close()
    assert model() is None


class Stderr(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("settings", ["both", "none", "no hub"])
def test_loading_draws_bars_on_terminals_only_and_changes_no_setting(
    checkpoint, monkeypatch, terminal, settings
):
    logging.enable_progress_bar()
    if settings != "both":
        (logging.disable_progress_bar if settings == "none" else disable_progress_bars)()
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", stderr := Stderr(terminal=terminal))
    LocalEngine.from_pretrained(checkpoint).close()
    assert ("Loading weights" in stderr.getvalue()) == (terminal and settings != "none")
    assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before
    logging.enable_progress_bar()
    enable_progress_bars()


@pytest.mark.parametrize("damage", ["truncated", "mismatched"])
def test_damaged_weights_are_an_error_of_ours(tmp_path, damage):
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    if damage == "truncated":
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 48}))
    with pytest.raises(ModelNotFoundError, match="cannot be loaded"):
        LocalEngine.from_pretrained(str(tmp_path))


def test_limits_are_whole_numbers_above_zero():
    for limit in (0, -1, "8"):
        with pytest.raises(InvalidParamsError, match="max_rows"):
            LocalEngine(tiny_model(), tiny_tokenizer(), max_rows=limit)


def test_a_torch_dtype_is_as_good_as_its_name(checkpoint):
    assert ModelSource(checkpoint, dtype=torch.bfloat16) == ModelSource(
        checkpoint, dtype="bfloat16"
    )


def test_long_rope_models_stop_where_their_first_frequencies_do():
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 40,
    }
    model = tiny_model(rope_parameters=rope)
    with LocalEngine(model, tiny_tokenizer()) as engine:
        assert engine.context_window == 40


def test_torch_work_of_all_kinds_is_done_on_one_thread():
    import threading

    names = {run_on_worker(lambda: threading.current_thread().name) for _ in range(3)}
    assert len(names) == 1
    assert run_on_worker(lambda: run_on_worker(int)) == 0  # no waiting for oneself
    with pytest.raises(ZeroDivisionError):
        run_on_worker(lambda: 1 / 0)
