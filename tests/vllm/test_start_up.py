"""What vLLM is started with, and what is refused before anything is loaded."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from amulet_integrations.engine import LocalEngine, VLLMEngine
from amulet_integrations.errors import (
    InvalidParamsError,
    ModelError,
    ModelNotFoundError,
    UnknownArgumentError,
    UnsupportedByEngineError,
)
from tests.contract.subjects import request_of, vllm_folder, vllm_options
from tests.support.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size=2"),
        ({"scheduling_policy": "priority"}, "scheduling_policy='priority'"),
        (
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 640},
            "enable_chunked_prefill",
        ),
        ({"max_num_scheduled_tokens": 8, "max_num_seqs": 16}, "max_num_batched_tokens=8"),
        (
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
            "speculative_config",
        ),
        ({"scheduler_cls": "vllm.v1.core.sched.scheduler.Scheduler"}, "scheduler_cls"),
        ({"logits_processors": ["a:B"]}, "logits_processors"),
    ],
)
def test_settings_without_lockstep_are_refused(options, message):
    with pytest.raises(UnsupportedByEngineError, match=message):
        VLLMEngine(vllm_folder(), **{**vllm_options(), **options})


def test_arguments_that_vllm_does_not_have_are_refused():
    with pytest.raises(UnknownArgumentError, match="did you mean 'max_num_seqs"):
        VLLMEngine(vllm_folder(), max_num_seq=4)
    with pytest.raises(InvalidParamsError, match="max_waiting=-1"):
        VLLMEngine(vllm_folder(), max_waiting=-1)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


def broken_config(folder):
    (folder / "config.json").write_text("{broken")


def damaged_weights(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")


def pickled_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def another_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def an_encoder(folder):
    BertModel(
        BertConfig(
            vocab_size=512,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=32,
        )
    ).save_pretrained(folder)


def more_tokens_than_embeddings(folder):
    larger = tiny_tokenizer()
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    larger.add_tokens([f"<more|{number}>" for number in range(rows)])
    larger.add_special_tokens({"eos_token": "<the|last>"})
    larger.save_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        shutil.rmtree,
        no_weights,
        no_tokenizer,
        broken_config,
        damaged_weights,
        pickled_weights,
        another_config(intermediate_size=128),
        another_config(num_hidden_layers=3),
        another_config(model_type="foo", architectures=["FooForCausalLM"]),
        an_encoder,
        more_tokens_than_embeddings,
    ],
)
def test_a_checkpoint_that_the_local_engine_refuses_is_refused_with_the_same_error(
    tmp_path, change
):
    folder = tmp_path / "model"
    shutil.copytree(vllm_folder(), folder)
    change(folder)
    with pytest.raises(ModelError) as local:
        LocalEngine.from_pretrained(str(folder))
    with pytest.raises(type(local.value), match=re.escape(f"model={str(folder)!r}")):
        VLLMEngine(str(folder), **vllm_options())


@pytest.mark.parametrize("name", ["some-owner/no-such-model", "llama3:8b"])
def test_a_name_without_a_checkpoint_is_refused_as_the_local_engine_does(name):
    with pytest.raises(ModelNotFoundError) as local:
        LocalEngine.from_pretrained(name)
    with pytest.raises(ModelNotFoundError, match=re.escape(str(local.value))):
        VLLMEngine(name)


@pytest.mark.parametrize("name", ["a/b/model.gguf", "ollama:llama3.2:1b", "a file"])
def test_gguf_files_are_left_to_the_local_engine(tmp_path, name):
    if name == "a file":
        (file := tmp_path / "blob").write_bytes(b"GGUF\x03\x00\x00\x00")
        name = str(file)
    with pytest.raises(UnsupportedByEngineError, match=r"LocalEngine\.from_pretrained"):
        VLLMEngine(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_model_len": "many"}, "max_model_len='many': input should be a valid integer"),
        ({"max_num_seqs": 0}, "max_num_seqs=0: input should be greater than or equal to 1"),
        ({"dtype": "float7"}, "dtype='float7': .*'bfloat16'"),
        ({"max_model_len": 100_000}, "max_model_len=100000 .*max_position_embeddings=640"),
        ({"max_num_batched_tokens": 8}, "max_num_batched_tokens=8, max_num_seqs=16 "),
        ({"block_size": 7}, r"block_size=7 .*MultipleOf\(32\)"),
        ({"num_gpu_blocks_override": 3}, "max_model_len=320 .*model length is 64"),
    ],
)
def test_options_that_vllm_refuses_are_named_with_their_values_and_the_reason(options, message):
    with pytest.raises(InvalidParamsError, match=message) as refused:
        VLLMEngine(vllm_folder(), **{**vllm_options(), "hf_token": "hf_secret", **options})
    assert "hf_secret" not in str(refused.value)


def test_an_engine_can_be_made_after_one_was_refused():
    with pytest.raises(InvalidParamsError):
        VLLMEngine(vllm_folder(), **{**vllm_options(), "num_gpu_blocks_override": 3})
    with VLLMEngine(vllm_folder(), **vllm_options(), hf_token="hf_secret") as engine:
        assert len(engine.generate([request_of([5], [1.0], max_new_tokens=2)])[0].token_ids) == 2
        assert "hf_secret" not in engine.fingerprint


def test_a_second_engine_is_refused_while_one_is_open(tiny_vllm):
    with pytest.raises(UnsupportedByEngineError, match="one at a time"):
        VLLMEngine(vllm_folder(), **vllm_options())
    assert not tiny_vllm.closed


def test_the_version_is_checked(monkeypatch):
    monkeypatch.setattr("vllm.__version__", "0.41.0")
    with pytest.raises(UnsupportedByEngineError, match=r"vLLM 0\.41\.0 .* 0\.32 and 0\.33"):
        VLLMEngine(vllm_folder())


def test_what_is_known_of_the_model(tiny_vllm):
    assert tiny_vllm.model_name == vllm_folder()
    assert tiny_vllm.context_window == 320
    assert tiny_vllm.end_ids == {1}
    assert tiny_vllm.limits.max_rows == 40
    tiny_vllm.warm_up()
    tiny_vllm.forget_prefixes()
    assert tiny_vllm.stats.prefix_tokens == 0
