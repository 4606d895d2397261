"""What `vllm serve` has to be started with, and what is said where it was not."""

from __future__ import annotations

import pytest

from amulet_integrations.errors import UnsupportedByEngineError
from amulet_integrations.serving.vllm_plugin import server_flags

from .simulated_runner import simulated_config


@pytest.fixture
def config():
    made = simulated_config(60)
    made.scheduler_config.scheduler_cls = server_flags.SCHEDULER
    made.model_config.logits_processors = [server_flags.ROW_PROCESSOR]
    return made


def test_a_server_with_the_flags_is_taken(config):
    server_flags.check_flags(config)


def test_flags_that_lack_are_named_whole(config):
    config.scheduler_config.scheduler_cls = None
    config.model_config.logits_processors = ["another:Processor"]
    with pytest.raises(UnsupportedByEngineError) as caught:
        server_flags.check_flags(config)
    assert f"--scheduler-cls {server_flags.SCHEDULER}" in str(caught.value)
    assert f"--logits-processors {server_flags.ROW_PROCESSOR}" in str(caught.value)


def test_each_model_runner_has_its_processor(config, monkeypatch):
    monkeypatch.setattr(type(config), "use_v2_model_runner", True)
    with pytest.raises(UnsupportedByEngineError, match=server_flags.SLOT_PROCESSOR) as caught:
        server_flags.check_flags(config)
    assert "--scheduler-cls" not in str(caught.value)


def test_settings_without_lockstep_are_refused(config):
    config.parallel_config.distributed_executor_backend = "mp"
    with pytest.raises(UnsupportedByEngineError, match="--distributed-executor-backend uni"):
        server_flags.check_flags(config)
    config.scheduler_config.policy = "priority"
    with pytest.raises(UnsupportedByEngineError, match="scheduling_policy='priority'"):
        server_flags.check_flags(config)
