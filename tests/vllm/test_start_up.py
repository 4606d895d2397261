"""What vLLM is started with, and what is refused before anything is loaded."""

from __future__ import annotations

import pytest

from amulet_integrations.engine import VLLMEngine
from amulet_integrations.errors import (
    InvalidParamsError,
    UnknownArgumentError,
    UnsupportedByEngineError,
    UnsupportedModelError,
)
from tests.contract.subjects import vllm_folder, vllm_options


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


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UnsupportedModelError, match="vLLM cannot load"):
        VLLMEngine(str(tmp_path / "nothing"))


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
