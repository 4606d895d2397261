"""One step of vLLM: hands over admitted requests, computes, and takes ended ones back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm import SamplingParams
from vllm.v1.engine import EngineCoreRequest

from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import GenerationError

from .groups import Group, Member

if TYPE_CHECKING:
    from .lockstep_scheduler import LockstepScheduler
    from .start_up import StartedVLLM

_MOST_IDLE_STEPS = 1000


class VLLMCore:
    """Gives the scheduler's admitted requests their tokens. Runs on the worker thread only.

    Args:
        scheduler: The engine's scheduler, which admits no more than vLLM has room for.
        started: vLLM with the model.
    """

    def __init__(self, scheduler: Scheduler, started: StartedVLLM) -> None:
        self._scheduler = scheduler
        self._started = started
        self._client = started.client
        self._groups: dict[int, Group] = {}  # by the id of the sequence

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens whose blocks vLLM keeps, those of running requests included."""
        manager = self._lockstep.kv_cache_manager
        return len(manager.block_pool.cached_block_hash_to_block) * self._lockstep.block_size

    @property
    def _lockstep(self) -> LockstepScheduler:
        scheduler: LockstepScheduler = self._client.engine_core.scheduler
        return scheduler

    def step(self) -> None:
        """Gives every running request a token, then computes some of the prompts.

        The tokens are chosen inside, by the logits processor.
        """
        for sequence in self._scheduler.prefilling:
            if id(sequence) not in self._groups:
                self._submit(sequence)
        self._client.get_output()
        known = self._lockstep.requests.keys()
        for group in self._groups.values():
            if not known >= set(group.request_ids):
                group.sequence.fail(_ended_by_vllm())
        prefilling = self._scheduler.prefilling
        prefilling.sort(key=lambda sequence: not sequence.completion)
        self._scheduler.start(sum(bool(sequence.completion) for sequence in prefilling))
        if self._lockstep.idle_steps > _MOST_IDLE_STEPS:
            raise GenerationError("vLLM computes none of the requests that it has.")
        self.remove_finished()

    def remove_finished(self) -> None:
        """Removes the requests that are done, cancelled or overdue, and frees their blocks."""
        for sequence in self._scheduler.admitted:
            sequence.end_if_cancelled_or_overdue()
        gone = {id(sequence) for sequence in self._scheduler.admitted if sequence.done}
        if gone:
            self._abort([self._groups.pop(key) for key in gone if key in self._groups])
            self._scheduler.remove(gone)

    def forget_prefixes(self) -> None:
        """Drops what vLLM keeps of ended requests, where none runs."""
        self._client.reset_prefix_cache()

    def reset(self) -> None:
        """Drops all requests and prefixes. The requests must have ended."""
        self._abort(list(self._groups.values()))
        self._groups.clear()
        self._lockstep.idle_steps = 0
        self.forget_prefixes()

    def release(self) -> None:
        """Frees the model. Nothing is computed any more."""
        self._started.close()

    def _submit(self, sequence: Sequence) -> None:
        group = self._groups[id(sequence)] = Group(sequence)
        for index, (ids, request_id) in enumerate(
            zip(sequence.contexts, group.request_ids, strict=True)
        ):
            params = SamplingParams(
                temperature=0.0,
                max_tokens=sequence.max_lengths[index] - len(ids),
                ignore_eos=True,
                detokenize=False,
                extra_args=Member(group, index).as_extra_args(),
            )
            self._client.add_request(
                EngineCoreRequest(
                    request_id=request_id,
                    prompt_token_ids=list(ids),
                    mm_features=None,
                    sampling_params=params,
                    pooling_params=None,
                    arrival_time=time.time(),
                    lora_request=None,
                    cache_salt=sequence.cache_salt,
                    data_parallel_rank=None,
                )
            )

    def _abort(self, groups: list[Group]) -> None:
        self._client.abort_requests([name for group in groups for name in group.request_ids])


def _ended_by_vllm() -> GenerationError:
    return GenerationError("vLLM ended the request before it was done. Its log says why.")
