"""Which checkpoints load, what the others are refused with, and who shares what was loaded."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
import torch
from transformers import (
    AutoConfig,
    Llama4Config,
    Llama4ForConditionalGeneration,
    T5Config,
)

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
from tests.support.tiny import SIZES, VOCABULARY, tiny_engine, tiny_model, tiny_tokenizer


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


def _save(folder, **changes):
    tiny_model(**changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def _change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _change_weights(folder, change):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _cut(folder, name, size):
    (folder / name).write_bytes((folder / name).read_bytes()[:size])


def _split_and_lose_one(folder):
    tiny_model().save_pretrained(folder, max_shard_size="100KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    max(folder.glob("model-0*")).unlink()


DAMAGES = {
    "header cut": (lambda it: _cut(it, "model.safetensors", 1000), "deserializing header"),
    "weights cut": (lambda it: _cut(it, "model.safetensors", 90_000), "deserializing header"),
    "weights empty": (lambda it: _cut(it, "model.safetensors", 0), "deserializing header"),
    "a part lost": (_split_and_lose_one, "lacks model-0"),
    "config cut": (lambda it: _cut(it, "config.json", 50), "config"),
    "config empty": (lambda it: _cut(it, "config.json", 0), "config"),
    "config no object": (lambda it: (it / "config.json").write_text("[]"), "config"),
    "tokenizer cut": (lambda it: _cut(it, "tokenizer.json", 500), "tokenizer"),
    "tokenizer empty": (lambda it: _cut(it, "tokenizer.json", 0), "tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_an_error_of_ours_that_says_what_is_wrong(tmp_path, damage):
    _save(tmp_path)
    spoil, named = DAMAGES[damage]
    spoil(tmp_path)
    with pytest.raises(ModelNotFoundError, match="cannot be loaded") as caught:
        LocalEngine.from_pretrained(str(tmp_path))
    assert named in str(caught.value).replace(str(tmp_path), "")


UNFITTING = {
    "more layers than stored": (
        lambda it: _change_config(it, num_hidden_layers=3),
        r"lacks 9 weights .* model\.layers\.2\.",
    ),
    "one weight lost": (
        lambda it: _change_weights(it, lambda weights: weights.pop("model.norm.weight")),
        r"lacks 1 weights .* model\.norm\.weight",
    ),
    "no head": (
        lambda it: _change_weights(it, lambda weights: weights.pop("lm_head.weight")),
        r"lacks 1 weights .* lm_head\.weight",
    ),
    "wider": (lambda it: _change_config(it, hidden_size=48), r"other shapes .*\(512, 32\).*48"),
    "more tokens": (lambda it: _change_config(it, vocab_size=600), r"other shapes .*\(600, 32\)"),
}


@pytest.mark.parametrize("how", UNFITTING)
def test_weights_that_do_not_fill_their_config_are_refused(tmp_path, how):
    _save(tmp_path)
    spoil, message = UNFITTING[how]
    spoil(tmp_path)
    with pytest.raises(UnsupportedModelError, match=message):
        LocalEngine.from_pretrained(str(tmp_path))


def test_tied_weights_and_computed_buffers_are_not_missing(tmp_path):
    for name, changes in (
        ("tied", {"tie_word_embeddings": True}),
        ("gpt2", {"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_positions": 640}),
        ("gemma2", {"model_type": "gemma2"}),
    ):
        _save(tmp_path / name, **changes)
        LocalEngine.from_pretrained(str(tmp_path / name)).close()


def test_a_tokenizer_of_more_tokens_than_are_embedded_is_refused(tmp_path):
    _save(tmp_path, vocab_size=200)
    with pytest.raises(UnsupportedModelError, match=r"embeds 200 tokens.*has the token"):
        LocalEngine.from_pretrained(str(tmp_path))


def test_an_added_token_without_an_embedding_is_refused_where_it_is_given(tmp_path):
    _save(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<image_{number}>" for number in range(VOCABULARY)], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    with LocalEngine.from_pretrained(str(tmp_path)) as engine:
        ids = tokenizer.encode(f"<image_{VOCABULARY - 1}>")
        assert max(ids) >= VOCABULARY
        with pytest.raises(InvalidRequestError, match=str(max(ids))):
            engine.generate([GenerationRequest(contexts=[ids])])


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
