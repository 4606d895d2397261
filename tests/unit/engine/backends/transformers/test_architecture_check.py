"""What a model's architecture can do is found out before its first use, by what it computes."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoConfig,
    DynamicCache,
    LlamaForCausalLM,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.transformers import (
    architecture_check,
    architecture_kind,
)
from amulet_integrations.engine.backends.transformers.architecture_check import check_architecture
from amulet_integrations.engine.backends.transformers.masks import Batching
from amulet_integrations.engine.backends.transformers.model_info import context_window
from amulet_integrations.errors import UnsupportedModelError
from tests.support.oracle import slow_greedy
from tests.support.tiny import SIZES, tiny_model, tiny_tokenizer

PROMPTS = [[5, 6, 7], [*range(20, 60)], [*range(100, 117)]]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 64,
}
LOCAL_ROPE = {"rope_type": "default", "rope_theta": 100.0}


def nested_rope(full, sliding):
    return {
        "head_dim": 8,
        "rope_parameters": {"full_attention": full, "sliding_attention": sliding},
    }


KINDS = ["sliding_attention", "full_attention"] * 2
GEMMA4 = {
    "num_hidden_layers": 4,
    "layer_types": KINDS,
    "sliding_window": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 512,
}
LLAMA4 = {
    "attention_chunk_size": 8,
    "num_local_experts": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
BIDIRECTIONAL = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "use_bidirectional_attention": True,
}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "index_topk": 4,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "first_k_dense_replace": 2,
}


def check_tokens(model):
    """Compares prompts of unequal length, alone and together, with the slow way."""
    requests = [
        GenerationRequest(contexts=[ids], sampling=SamplingParams(max_new_tokens=10))
        for ids in PROMPTS
    ]
    expected = [slow_greedy(model, [ids], [1.0], 10) for ids in PROMPTS]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        assert [each.token_ids for each in engine.generate(requests)] == expected
        assert [engine.generate([each])[0].token_ids for each in requests] == expected


@pytest.mark.parametrize("family", ["llama", "granite", "gpt_neox"])
def test_a_window_that_the_model_never_reads_changes_nothing(family):
    check_tokens(tiny_model(family, sliding_window=8))


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("mistral", {"sliding_window": 8}),
        ("mistral", {"sliding_window": 8, "attn_implementation": "eager"}),
        ("gemma4_text", GEMMA4),
        ("llama4_text", LLAMA4),
        ("gpt_neox_japanese", {"intermediate_multiple_size": 2}),  # rows of one length only
        ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 96}),
    ],
)
def test_masks_are_those_that_the_model_asks_for(family, changes):
    check_tokens(tiny_model(family, **changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"num_key_value_heads": 2}),
        ("gemma4_text", GEMMA4),  # heads of two sizes
        ("gemma4_text", {**GEMMA4, "num_kv_shared_layers": 2}),
        ("deepseek_v3", LATENT),  # keys and values of different sizes
    ],
)
def test_the_bytes_of_a_token_are_those_of_plain_transformers_cache(family, changes, dtype):
    model = tiny_model(family, **changes).to(dtype)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.tensor([[5]]), past_key_values=cache, use_cache=True)
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    held = sum(part.nbytes for part in parts if part is not None)
    assert check_architecture(model).bytes_per_token == held


@pytest.mark.parametrize(
    ("family", "settings", "window"),
    [
        ("gpt2", {"n_positions": 77}, 77),
        ("codegen", {"n_positions": 77}, 77),
        ("mpt", {"max_seq_len": 77}, 77),
        ("mpt", {"max_seq_len": 77, "max_position_embeddings": 99}, 77),
        ("dbrx", {"max_seq_len": 77}, 77),
        ("bloom", {"seq_length": 77}, 77),
        ("whisper", {"max_target_positions": 77}, 77),
        ("llama", {"max_position_embeddings": 77, "n_positions": 9}, 77),
        ("gemma3_text", nested_rope(LONGROPE, LOCAL_ROPE), 64),
        ("gemma3_text", nested_rope(LOCAL_ROPE, LONGROPE), 64),
        (
            "gemma3_text",
            nested_rope(LONGROPE, {**LONGROPE, "original_max_position_embeddings": 32}),
            32,
        ),
        ("phi3", {"original_max_position_embeddings": 64, "rope_parameters": LONGROPE}, 64),
    ],
)
def test_a_context_window_has_many_names(family, settings, window, caplog):
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 256}
    if "rope_parameters" in settings:
        settings = {**sizes, **settings}
    assert context_window(AutoConfig.for_model(family, **settings)) == window
    assert "names no context window" not in caplog.text


def test_a_context_window_that_no_config_names_is_said_to_be_assumed(caplog):
    config = AutoConfig.for_model("bloom", name_or_path="somebody/alibi")
    assert context_window(config) == context_window(config) == 2048
    assert caplog.text.count("somebody/alibi names no context window: 2048") == 1


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("bert", {}, "sees later tokens"),
        ("megatron-bert", {}, "sees later tokens"),
        ("gemma", BIDIRECTIONAL, "sees later tokens"),
        ("roberta-prelayernorm", {"is_decoder": True}, "logits differ"),
        ("xlm-roberta-xl", {"is_decoder": True}, "logits differ"),
        ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "its cache does not hold"),
        ("deepseek_v32", {**LATENT, "index_topk": 64}, "update_indexer"),
        ("glm_moe_dsa", {**LATENT, "index_topk": 64}, "update_indexer"),
    ],
)
def test_what_cannot_be_run_is_refused_before_its_first_use(family, changes, reason):
    with pytest.raises(UnsupportedModelError, match=f"(?s){family}.*{reason}"):
        LocalEngine(tiny_model(family, **changes), tiny_tokenizer())


@pytest.mark.parametrize("model_type", ["roberta-prelayernorm", "xlm-roberta-xl", "megatron-bert"])
def test_an_encoder_is_refused_before_it_is_loaded(model_type, tmp_path):
    architecture = type(tiny_model(model_type)).__name__
    AutoConfig.for_model(model_type, architectures=[architecture]).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=architecture):  # there are no weights
        LocalEngine.from_pretrained(str(tmp_path))


class Counted(LlamaForCausalLM):
    """Counts its passes, and changes what it computes in some of them."""

    passes = 0
    is_wrong = staticmethod(lambda rows, new, past: False)

    def forward(self, input_ids, position_ids=None, past_key_values=None, **options):
        type(self).passes += 1
        past = past_key_values is not None
        output = super().forward(
            input_ids, position_ids=position_ids, past_key_values=past_key_values, **options
        )
        if self.is_wrong(*input_ids.shape, past):
            output.logits = output.logits.roll(1, dims=-1)
        return output


def counted(**changes):
    """A model of a class of its own, so that nothing is known about it."""
    own = type("Counted", (Counted,), {"passes": 0, "__module__": __name__})
    config = AutoConfig.for_model("llama", **{**SIZES, **changes})
    torch.manual_seed(0)
    return own(config).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("wrong", "batching"),
    [
        (lambda rows, new, past: False, Batching.MIXED),
        (lambda rows, new, past: rows > 1 and new > 1 and past, Batching.SINGLE_TOKENS),
        (lambda rows, new, past: rows > 1 and past, Batching.EQUAL_LENGTHS),
        (lambda rows, new, past: new == 1 and past, None),
        (lambda rows, new, past: past, None),
    ],
)
def test_the_fastest_right_way_is_taken(wrong, batching, dtype):
    model = counted().to(dtype)
    model.is_wrong = wrong
    if batching:
        assert check_architecture(model).batching is batching
    else:
        with pytest.raises(UnsupportedModelError, match="logits"):
            check_architecture(model)


def test_a_window_that_only_model_generate_takes_is_told(caplog):
    check_architecture(counted(sliding_window=8))
    assert "model.generate drops" in caplog.text


def test_errors_of_the_models_own_code_are_its_refusal():
    model = counted()

    def fails(rows, new, past):
        raise ZeroDivisionError("by hidden size")

    model.is_wrong = fails
    with pytest.raises(UnsupportedModelError, match="ZeroDivisionError: by hidden size") as raised:
        LocalEngine(model, tiny_tokenizer())
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_model_in_training_mode_says_so():
    model = counted(attention_dropout=0.5).train()
    with pytest.raises(UnsupportedModelError, match=r"call model\.eval\(\)"):
        LocalEngine(model, tiny_tokenizer())


def test_a_model_in_memory_is_tried_once_for_each_class_and_config(tmp_path, monkeypatch):
    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path))
    model = counted()
    kind = type(model)
    LocalEngine(model, tiny_tokenizer()).close()
    tried = kind.passes
    assert 0 < tried < 30
    LocalEngine(kind(model.config).eval(), tiny_tokenizer()).close()
    assert kind.passes == tried
    other = AutoConfig.for_model("llama", **{**SIZES, "rms_norm_eps": 0.01})
    LocalEngine(kind(other).eval(), tiny_tokenizer()).close()
    assert kind.passes == 2 * tried
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def trials(monkeypatch, tmp_path):
    """The trials of processes that share nothing but a cache folder."""
    done = []
    real = architecture_check.try_architecture

    def counting(model):
        done.append(model)
        return real(model)

    monkeypatch.setattr(architecture_check, "try_architecture", counting)
    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path / "cache"))
    return SimpleNamespace(done=done, cache=tmp_path / "cache")


def check_anew(monkeypatch, model):
    """Checks a checkpoint's model as a new process would."""
    monkeypatch.setattr(architecture_check, "_known", {})
    return check_architecture(model, remember=True)


def remembered(trials):
    return [path for path in trials.cache.rglob("*") if path.is_file()]


def test_a_checkpoint_is_tried_once(trials, tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    for _ in range(2):
        monkeypatch.setattr(architecture_check, "_known", {})
        LocalEngine.from_pretrained(str(tmp_path / "model")).close()
    assert len(trials.done) == len(remembered(trials)) == 1


def test_models_of_another_kind_are_tried_too(trials, monkeypatch):
    kinds = [
        tiny_model(),
        tiny_model().to(torch.bfloat16),
        tiny_model(attn_implementation="eager"),
        tiny_model(rms_norm_eps=0.01),
        counted(),
    ]
    for model in (*kinds, *kinds, tiny_model(seed=1)):
        check_anew(monkeypatch, model)
    assert len(trials.done) == len(remembered(trials)) == len(kinds)
    monkeypatch.setattr(torch, "__version__", "99.0")
    check_anew(monkeypatch, kinds[0])
    assert len(trials.done) == len(remembered(trials)) == len(kinds) + 1


SHORT_OF_MEMORY = {
    "device": torch.OutOfMemoryError("CUDA out of memory."),
    "Python": MemoryError(),
    "CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
}
PASSES = {
    "plain": lambda rows, new, past: not past,
    "own cache": lambda rows, new, past: past and rows == 1,
    "mixed": lambda rows, new, past: past and rows > 1 and new > 1,
    "together": lambda rows, new, past: past and rows > 1,
}


def failing(model, where, error, times=1000):
    """Lets the first passes of a kind fail."""
    left = iter(range(times))

    def fails(*size):
        if where(*size) and next(left, None) is not None:
            raise error
        return False

    type(model).is_wrong = staticmethod(fails)


@pytest.mark.parametrize("error", SHORT_OF_MEMORY.values(), ids=SHORT_OF_MEMORY)
@pytest.mark.parametrize("where", PASSES.values(), ids=PASSES)
def test_running_out_of_memory_says_nothing_about_the_model(trials, monkeypatch, where, error):
    model = counted()
    failing(model, where, error)
    with pytest.raises(type(error)) as raised:
        check_anew(monkeypatch, model)
    assert raised.value is error
    assert not remembered(trials)
    failing(model, where, error, times=0)
    assert check_architecture(model, remember=True).batching is Batching.MIXED


def test_memory_that_runs_out_beside_a_config_with_a_window_is_an_error_too(monkeypatch):
    model = counted(sliding_window=8)
    error, passes = SHORT_OF_MEMORY["device"], iter(range(1000))
    # The first four passes with a cache show that the config's window is not the model's.
    failing(model, lambda rows, new, past: past and next(passes) >= 4, error)
    with pytest.raises(torch.OutOfMemoryError):
        check_architecture(model)


def test_an_error_that_passes_changes_nothing(trials, monkeypatch):
    for where in ("mixed", "together"):
        model = counted()
        failing(model, PASSES[where], RuntimeError("a lost connection"), times=1)
        assert check_anew(monkeypatch, model).batching is Batching.MIXED
    assert len(remembered(trials)) == 1


def test_errors_of_the_machine_are_not_remembered_and_the_models_own_are(trials, monkeypatch):
    model = counted()
    for error in (OSError("No space left on device"), torch.AcceleratorError("an illegal access")):
        failing(model, PASSES["mixed"], error)
        assert check_anew(monkeypatch, model).batching is Batching.SINGLE_TOKENS
        assert not remembered(trials)
        failing(model, PASSES["mixed"], error, times=0)
        assert check_architecture(model).batching is Batching.MIXED
    failing(model, PASSES["mixed"], NotImplementedError("one token at a time"))
    assert check_anew(monkeypatch, model).batching is Batching.SINGLE_TOKENS
    failing(model, PASSES["mixed"], NotImplementedError(), times=0)
    assert check_anew(monkeypatch, model).batching is Batching.SINGLE_TOKENS
    assert len(remembered(trials)) == 1


def test_another_machine_and_another_placement_are_other_kinds(trials, monkeypatch):
    def placed(device):
        model = tiny_model()
        model.register_buffer("unused", torch.empty(1, device=device), persistent=False)
        return model

    for device in ("cpu", "meta", "meta", "cpu"):
        check_anew(monkeypatch, placed(device))
    assert len(trials.done) == len(remembered(trials)) == 2
    monkeypatch.setattr(architecture_kind, "processor_name", lambda: "another")
    check_anew(monkeypatch, placed("cpu"))
    assert len(trials.done) == len(remembered(trials)) == 3


def test_the_processor_has_a_name(monkeypatch, tmp_path):
    instructions = torch.backends.cpu.get_cpu_capability()
    monkeypatch.setattr(architecture_kind, "_PROCESSORS", tmp_path / "cpuinfo")
    name = architecture_kind.processor_name.__wrapped__
    assert name() != f" ({instructions})"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast CPU @ 9 GHz\n" * 2)
    assert name() == f"Fast CPU @ 9 GHz ({instructions})"


def test_code_beside_a_checkpoints_class_is_part_of_its_kind(trials, tmp_path, monkeypatch):
    # As transformers imports code that comes with a checkpoint.
    package = "transformers_modules.own_llama"
    folder = SimpleNamespace(__path__=[str(tmp_path)], __name__=package)
    monkeypatch.setitem(sys.modules, package, folder)
    file = tmp_path / "modeling_own.py"
    file.write_text("from transformers import LlamaForCausalLM\nclass Own(LlamaForCausalLM): ...\n")
    spec = importlib.util.spec_from_file_location(f"{package}.modeling_own", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for factor, tried in ((1, 1), (1, 1), (2, 2)):
        (tmp_path / "layers.py").write_text(f"FACTOR = {factor}\n")
        check_anew(monkeypatch, module.Own(AutoConfig.for_model("llama", **SIZES)).eval())
        assert len(trials.done) == len(remembered(trials)) == tried


def test_code_of_a_layers_base_class_is_part_of_its_kind(trials, tmp_path, monkeypatch):
    def written(value):
        (tmp_path / "own_layers.py").write_text(f"class Marked: value = {value}\n")

    written(1)
    monkeypatch.syspath_prepend(tmp_path)
    marked = importlib.import_module("own_layers").Marked
    imported = sys.modules.pop("own_layers")
    monkeypatch.setitem(sys.modules, "own_layers", imported)
    model = tiny_model()
    kind = type(model.lm_head)
    model.lm_head.__class__ = type("Head", (kind, marked), {"__module__": __name__})
    for value, tried in ((1, 1), (1, 1), (2, 2)):
        written(value)
        check_anew(monkeypatch, model)
        assert len(trials.done) == len(remembered(trials)) == tried


def test_code_that_is_in_no_file_is_not_remembered(trials, monkeypatch):
    model = tiny_model()
    model.lm_head.__class__ = type("Head", (type(model.lm_head),), {"__module__": "a notebook"})
    for _ in range(2):
        check_anew(monkeypatch, model)
    assert len(trials.done) == 2
    assert not remembered(trials)


def test_what_was_remembered_wrongly_is_tried_again(trials, monkeypatch):
    model = tiny_model()
    found = check_anew(monkeypatch, model)
    (file,) = remembered(trials)
    right = file.read_text()
    wrong = ["", "{", "[]", '{"batching": "all"}', '{"batching": "mixed", "bytes_per_token": 0}']
    for content in wrong:
        file.write_text(content)
        assert check_anew(monkeypatch, model) == found
        assert file.read_text() == right
    assert len(trials.done) == 1 + len(wrong)


def test_a_cache_folder_that_cannot_be_written_costs_a_trial_only(trials, monkeypatch):
    trials.cache.write_text("a file where the folder should be")
    assert check_anew(monkeypatch, tiny_model()) == check_anew(monkeypatch, tiny_model())
    assert len(trials.done) == 2


def test_the_oldest_results_are_dropped(trials, monkeypatch):
    monkeypatch.setattr(architecture_check, "_MOST_REMEMBERED", 2)
    for size in (0.01, 0.02, 0.03):
        check_anew(monkeypatch, tiny_model(rms_norm_eps=size))
    assert len(remembered(trials)) == 2
    check_anew(monkeypatch, tiny_model(rms_norm_eps=0.03))
    assert len(trials.done) == 3


def test_a_refusal_is_not_remembered(trials, monkeypatch):
    model = tiny_model("roberta-prelayernorm", is_decoder=True)
    for _ in range(2):
        with pytest.raises(UnsupportedModelError, match="roberta-prelayernorm"):
            check_anew(monkeypatch, model)
    assert len(trials.done) == 2
    assert not remembered(trials)


def test_models_outside_of_an_engine_get_transformers_own_masks():
    options = {"batch_size": 2, "q_length": 3, "kv_length": 5, "q_offset": 2, "dtype": torch.half}
    for name in ("sdpa", "eager"):
        build = ALL_MASK_ATTENTION_FUNCTIONS[name]
        compiled = torch.compile(build, fullgraph=True, backend="eager")
        assert torch.equal(build(**options), compiled(**options))
        assert torch.equal(build(**options), build.__wrapped__(**options))
