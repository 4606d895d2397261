"""Starts vLLM in this process, and refuses settings under which contexts cannot be in step."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import (
    AmuletError,
    MissingDependencyError,
    UnknownArgumentError,
    UnsupportedByEngineError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from vllm.config import SchedulerConfig, VllmConfig
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.core_client import InprocClient

TESTED_VERSIONS = ("0.32", "0.33")
# What the extra `vllm` brings. Versions in constraints.txt are newer than vLLM wants them.
_HOW_TO_INSTALL = 'Install it with: pip install "vllm>=0.32,<0.34"'
_OWN = ("logits_processors", "scheduler_cls")
_SINGLE = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


class StartedVLLM:
    """vLLM with a model.

    Args:
        source: Where the model is from.
        client: Its engine, in this process.
        config: Its settings, with every default filled in.

    Attributes:
        source: The same.
        client: The same.
        config: The same.
    """

    def __init__(self, source: ModelSource, client: InprocClient, config: VllmConfig) -> None:
        self.source = source
        self.client = client
        self.config = config
        _open.add(self)

    def close(self) -> None:
        """Frees the model. Another one may be started then."""
        self.client.shutdown()
        _open.discard(self)


_open: WeakSet[StartedVLLM] = WeakSet()


def check_installed() -> None:
    """Checks that there is a vLLM which this package is tested with.

    Raises:
        MissingDependencyError: There is none.
        UnsupportedByEngineError: It has another version.
    """
    if find_spec("vllm") is None:
        raise MissingDependencyError(f"vLLM is not installed. {_HOW_TO_INSTALL}")
    from vllm import __version__ as version  # noqa: PLC0415 - it takes seconds

    if not version.startswith(tuple(f"{tested}." for tested in TESTED_VERSIONS)):
        raise UnsupportedByEngineError(
            f"vLLM {version} is installed. VLLMEngine uses parts of vLLM that change from one "
            f"version to the next; it is tested with {' and '.join(TESTED_VERSIONS)}. "
            f"{_HOW_TO_INSTALL}"
        )


def check_arguments(options: Mapping[str, Any]) -> None:
    """Checks that there is a vLLM that takes these arguments.

    Raises:
        MissingDependencyError: There is no vLLM.
        UnsupportedByEngineError: It has another version than those that are tested, or an argument
            is one that the engine sets itself.
        UnknownArgumentError: vLLM has no such argument.
    """
    check_installed()
    known = _known_arguments()
    if unknown := options.keys() - known:
        raise UnknownArgumentError.for_names("VLLMEngine", unknown, known)
    for name in _OWN:
        if options.get(name):
            raise UnsupportedByEngineError(
                f"{name}={options[name]!r}: VLLMEngine brings its own, which keeps the contexts of "
                "a request in step. Leave it out."
            )


def _known_arguments() -> set[str]:
    """The names of vLLM's engine arguments; the model is an argument of the engine's own."""
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415

    return {field.name for field in fields(EngineArgs)} - {"model"}


def start_vllm(model: str, options: Mapping[str, Any]) -> StartedVLLM:
    """Loads a model with vLLM. Runs on the worker thread only.

    Args:
        model: Hub id, local folder, or "embedded".
        options: vLLM's engine arguments, as `check_arguments` accepts them.

    Raises:
        InvalidParamsError: vLLM refuses the value of one, arguments do not go together, or the
            machine has too little memory for them.
        UnsupportedByEngineError: Contexts cannot be kept in step under a setting.
        ModelNotFoundError: There is no such checkpoint, or its files are damaged.
        UnsupportedModelError: vLLM cannot load the model, or its weights are pickles.
    """
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415
    from vllm.v1.engine.core_client import InprocClient  # noqa: PLC0415
    from vllm.v1.executor import Executor  # noqa: PLC0415

    from .loading_errors import config_error, read_source, start_error  # noqa: PLC0415

    source = read_source(model, options)
    _check_none_is_open()
    known = _known_arguments()
    try:
        arguments: dict[str, Any] = {"runner": "generate", **options}
        config = EngineArgs(model=_folder(source.model), **arguments).create_engine_config()
    except Exception as error:
        raise config_error(source, options, error, known) from error
    if config.model_config.is_encoder_decoder:
        raise UnsupportedModelError(f"model={source.model!r} is not a decoder-only language model.")
    refuse(settings_faults(config))
    _prepare(config)
    try:
        client = InprocClient(config, Executor.get_class(config), log_stats=False)
    except Exception as error:
        raise start_error(source, options, error, known) from error
    try:
        refuse(cache_faults(client.engine_core.scheduler))
    except AmuletError:
        client.shutdown()
        raise
    return StartedVLLM(source, client, config)


def _prepare(config: VllmConfig) -> None:
    """Has vLLM run in this thread, keep contexts in step, and read no pickles."""
    from .lockstep_scheduler import AsyncLockstepScheduler, LockstepScheduler  # noqa: PLC0415

    scheduler = config.scheduler_config
    config.parallel_config.distributed_executor_backend = "uni"  # the processor is in here
    scheduler.scheduler_cls = (
        AsyncLockstepScheduler if scheduler.async_scheduling else LockstepScheduler
    )
    config.model_config.logits_processors = [_processor(config)]
    if config.load_config.load_format == "auto":
        config.load_config.load_format = _safetensors_format(config)


def _safetensors_format(config: VllmConfig) -> str:
    """What vLLM makes of "auto", but for pickles."""
    from vllm.transformers_utils.repo_utils import list_filtered_repo_files  # noqa: PLC0415

    of_mistral = list_filtered_repo_files(
        config.model_config.model, ["consolidated*.safetensors"], config.model_config.revision
    )
    return "mistral" if of_mistral else "safetensors"


def _check_none_is_open() -> None:
    gc.collect()  # an engine that was dropped is part of a cycle
    if _open:
        raise UnsupportedByEngineError(
            "A VLLMEngine is open in this process already. What vLLM knows of a process is shared "
            "by all of its engines, so there is one at a time: close the other one, or use it."
        )


def _folder(model: str) -> str:
    if model != EMBEDDED:
        return model
    from amulet_integrations.engine.backends.transformers.loading.embedded import (  # noqa: PLC0415
        embedded_model_path,
    )

    return str(embedded_model_path())


def _processor(config: VllmConfig) -> type[Any]:
    """The logits processor for the model runner that vLLM has chosen."""
    if config.use_v2_model_runner:
        from .slot_processor import SlotProcessor  # noqa: PLC0415

        return SlotProcessor
    from .row_processor import RowProcessor  # noqa: PLC0415

    return RowProcessor


def refuse(faults: Iterator[str]) -> None:
    """Raises the first fault, if there is one.

    Raises:
        UnsupportedByEngineError: There is one.
    """
    for fault in faults:
        raise UnsupportedByEngineError(
            f"{fault}. The contexts of a request cannot be kept in step then."
        )


def settings_faults(config: VllmConfig) -> Iterator[str]:
    """Settings under which the contexts of a request cannot be kept in step."""
    scheduler, parallel = config.scheduler_config, config.parallel_config
    for name in _SINGLE:
        if getattr(parallel, name) > 1:
            yield f"{name}={getattr(parallel, name)}: use 1, for tokens are chosen in this process"
    if scheduler.policy != "fcfs":
        yield f"scheduling_policy={scheduler.policy!r}: use 'fcfs'"
    if not scheduler.enable_chunked_prefill:
        yield "enable_chunked_prefill=False: leave it on"
    if config.speculative_config is not None:
        yield "speculative_config is set: leave it out"
    if config.kv_transfer_config is not None or config.ec_transfer_config is not None:
        yield "kv_transfer_config or ec_transfer_config is set: leave it out"
    if parallel.enable_batch_sharded_sampling:
        yield "enable_batch_sharded_sampling=True: leave it out"
    yield from _budget_faults(scheduler)


def _budget_faults(scheduler: SchedulerConfig) -> Iterator[str]:
    # All requests together get a token in every step.
    budget = scheduler.max_num_scheduled_tokens or scheduler.max_num_batched_tokens
    if budget < scheduler.max_num_seqs:
        yield (
            f"max_num_batched_tokens={budget} is less than max_num_seqs={scheduler.max_num_seqs}: "
            "raise the one or lower the other"
        )
    active = scheduler.max_num_active_seqs
    if active is not None and active < scheduler.max_num_seqs:
        yield f"max_num_active_seqs={active} is less than max_num_seqs: leave it out"


def cache_faults(scheduler: Scheduler) -> Iterator[str]:
    """What of a model's cache keeps the contexts of a request from being in step."""
    kinds = scheduler.kv_cache_config.kv_cache_groups
    if len(kinds) != 1:
        yield (
            f"The model has {len(kinds)} kinds of layers with a cache of their own: try "
            "disable_hybrid_kv_cache_manager=True, or a model with plain attention only"
        )
