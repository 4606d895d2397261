"""vLLM without a model: its scheduler, and a runner that is a step ahead of it, as on GPUs.

With asynchronous scheduling vLLM plans a step before it has read the tokens of the step before.
The runner has slots for requests, as vLLM's model runner V2 has, and its logits come from a table.
"""

from __future__ import annotations

import random
from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext

from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence_engine import SequenceEngine
from amulet_integrations.engine.vllm.lockstep_scheduler import (
    AsyncLockstepScheduler,
    LockstepScheduler,
)
from amulet_integrations.engine.vllm.slot_processor import SlotProcessor
from amulet_integrations.engine.vllm.vllm_core import VLLMCore
from amulet_integrations.engine.vllm.vllm_model import VLLMModel
from tests.contract.subjects import vllm_folder, vllm_options
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_tokenizer

BLOCK = 32
_STEPS_AHEAD = 2


class SlotRunner:
    """Keeps the tokens of requests in slots, and draws the next ones greedily."""

    def __init__(self, config: VllmConfig, backend: TableBackend, seed: int) -> None:
        states = SimpleNamespace(device=torch.device("cpu"))
        self._processor = SlotProcessor(config, states)
        self._backend = backend
        self._random = random.Random(seed)
        self._free = list(range(config.scheduler_config.max_num_seqs))
        self._slots: dict[str, int] = {}
        self._tokens: dict[str, list[int]] = {}

    def run(self, output: SchedulerOutput) -> ModelRunnerOutput:
        """Computes a step, whose tokens the scheduler reads later."""
        for request_id in output.finished_req_ids:
            if request_id in self._slots:
                self._free.append(self._slots.pop(request_id))
        computed = dict(
            zip(
                output.scheduled_cached_reqs.req_ids,
                output.scheduled_cached_reqs.num_computed_tokens,
                strict=True,
            )
        )
        for new in output.scheduled_new_reqs:
            self._random.shuffle(self._free)
            slot = self._slots[new.req_id] = self._free.pop()
            self._processor.add_request(slot, new.sampling_params)
            self._tokens[new.req_id] = list(new.prompt_token_ids)
            computed[new.req_id] = new.num_computed_tokens
        names = list(output.num_scheduled_tokens)
        self._random.shuffle(names)
        ends = [computed[name] + output.num_scheduled_tokens[name] for name in names]
        return self._sampled(names, ends)

    def _sampled(self, names: list[str], ends: list[int]) -> ModelRunnerOutput:
        rows = [
            self._backend.logits_after(self._tokens[name][:end])
            for name, end in zip(names, ends, strict=True)
        ]
        sampled: list[list[int]] = [[] for _ in names]
        if rows:
            logits = self._processor.apply(torch.stack(rows).float(), self._context(names))
            for index, (name, end) in enumerate(zip(names, ends, strict=True)):
                if end == len(self._tokens[name]):
                    sampled[index] = [int(logits[index].argmax())]
                    self._tokens[name] += sampled[index]
        return ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=sampled,
        )

    def _context(self, names: list[str]) -> LogitsContext:
        slots = torch.tensor([self._slots[name] for name in names])
        return LogitsContext(
            expanded_idx_mapping=slots,
            idx_mapping=slots,
            idx_mapping_np=slots.numpy().astype(np.int32),
            expanded_local_pos=torch.zeros_like(slots),
            input_ids=torch.zeros_like(slots),
            pos=torch.zeros_like(slots),
            seq_lens_upper_bound_np=np.zeros(len(names), dtype=np.int32),
        )


class SimulatedVLLM:
    """Stands where vLLM's engine stands: a scheduler, and a runner that is ahead of it."""

    def __init__(
        self,
        config: VllmConfig,
        blocks: int,
        backend: TableBackend,
        seed: int,
        kind: type[LockstepScheduler] = AsyncLockstepScheduler,
    ) -> None:
        spec = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=1, head_size=32, dtype=torch.float32
        )
        cache = KVCacheConfig(
            num_blocks=blocks,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        )
        self.scheduler = kind(
            vllm_config=config,
            kv_cache_config=cache,
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK,
        )
        self.engine_core = self  # as in vLLM's client
        self._runner = SlotRunner(config, backend, seed)
        self._ahead: deque[tuple[SchedulerOutput, ModelRunnerOutput]] = deque()

    def add_request(self, request: EngineCoreRequest) -> None:
        self.scheduler.add_request(Request.from_engine_core_request(request, None))

    def abort_requests(self, request_ids: list[str]) -> None:
        self.scheduler.finish_requests(request_ids, RequestStatus.FINISHED_ABORTED)

    def get_output(self) -> dict[int, EngineCoreOutputs]:
        if self.scheduler.has_requests():
            planned = self.scheduler.schedule()
            self._ahead.append((planned, self._runner.run(planned)))
            if len(self._ahead) < _STEPS_AHEAD:
                return {}
        return self.scheduler.update_from_output(*self._ahead.popleft()) if self._ahead else {}

    def reset_prefix_cache(self) -> None:
        self.scheduler.reset_prefix_cache()

    def shutdown(self) -> None:
        pass


def simulated_config(blocks: int, **limits: Any) -> VllmConfig:
    """VLLM's settings for a cache of so many blocks, with asynchronous scheduling."""
    options = vllm_options(max_prefix_tokens=0, **limits)
    del options["max_waiting"]
    config = EngineArgs(model=vllm_folder(), **options).create_engine_config()
    config.scheduler_config.async_scheduling = True
    config.cache_config.num_gpu_blocks = blocks
    return config


def simulated_engine(seed: int, *, blocks: int = 60, **limits: Any) -> SequenceEngine:
    """An engine over simulated vLLM; its model is that of `table_subject`."""
    config = simulated_config(blocks, **limits)
    backend = TableBackend(tiny_tokenizer())
    client = SimulatedVLLM(config, blocks, backend, seed)
    model = VLLMModel(
        model_name="table",
        fingerprint="table",
        tokenizer=backend.tokenizer,
        device=backend.device,
        context_window=config.model_config.max_model_len,
        vocab_size=backend.vocab_size,
        logits_size=backend.logits_size,
        end_ids=backend.end_ids,
        block_size=BLOCK,
        cache_blocks=blocks - 1,
    )
    own = EngineLimits(
        max_rows=config.scheduler_config.max_num_seqs, max_cache_tokens=(blocks - 1) * BLOCK
    )
    scheduler = Scheduler(own, model)
    started = SimpleNamespace(client=client, config=config, close=client.shutdown)
    return SequenceEngine(model, own, scheduler, VLLMCore(scheduler, started))
