"""The flags of `vllm serve` that contexts are kept in step by, and what to add where they lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.engine.vllm.start_up import check_installed, refuse, settings_faults
from amulet_integrations.errors import UnsupportedByEngineError

if TYPE_CHECKING:
    from vllm.config import VllmConfig

_ROOM = "amulet_integrations.engine.vllm"
SCHEDULER = f"{_ROOM}.group_scheduler.make_scheduler"
ROW_PROCESSOR = f"{_ROOM}.row_processor:RowProcessor"
SLOT_PROCESSOR = f"{_ROOM}.slot_processor:SlotProcessor"


def check_flags(config: VllmConfig) -> None:
    """Refuses a server that would not keep contexts in step.

    Args:
        config: vLLM's settings, with every default filled in.

    Raises:
        UnsupportedByEngineError: A flag is missing, or one is set that contexts cannot be kept in
            step with; or vLLM's version is not one that this package is tested with.
    """
    check_installed()
    processor = SLOT_PROCESSOR if config.use_v2_model_runner else ROW_PROCESSOR
    missing = []
    if config.scheduler_config.scheduler_cls != SCHEDULER:
        missing.append(f"--scheduler-cls {SCHEDULER}")
    if processor not in (config.model_config.logits_processors or ()):
        missing.append(f"--logits-processors {processor}")
    if missing:
        raise UnsupportedByEngineError(
            "VLLM_PLUGINS names amulet, but vLLM was started without what keeps the contexts of a "
            f"request in step. Add to the command: {' '.join(missing)}"
        )
    refuse(settings_faults(config))
    executor = config.parallel_config.distributed_executor_backend
    if executor != "uni":
        raise UnsupportedByEngineError(
            f"vLLM runs the model in a process of its own ({executor!r}), and tokens are chosen "
            "beside the scheduler. Add --distributed-executor-backend uni; on a CPU, also set "
            "VLLM_ENABLE_V1_MULTIPROCESSING=0."
        )
