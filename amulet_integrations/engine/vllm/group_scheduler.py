"""vLLM's schedulers in `vllm serve`, which also admit groups and end them.

A request comes with the vLLM request of its first context (`sent_request`). The vLLM requests of
its other contexts are made here, so that a group begins and ends as one. It is admitted when there
are slots and blocks for the whole of it, so that lack of memory never preempts a part of it. What
has no preferences is scheduled as vLLM does, in the order of arrival.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from vllm import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

from amulet_integrations.errors import RequestCancelledError

from .group_maker import GroupMaker
from .groups import Group, Member, member_of
from .lockstep_scheduler import LockstepScheduler
from .sent_request import sent_request, without_sent
from .start_up import cache_faults, check_installed, refuse, settings_faults
from .vllm_model import VLLMModel

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import ModelRunnerOutput

logger = logging.getLogger(__name__)
_THREADS = 2  # they compile grammars, which takes a while


class GroupScheduler(LockstepScheduler):
    """vLLM's scheduler, which makes groups of what it is sent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name = self.vllm_config.model_config.model
        self._model = VLLMModel.served(name, name, self)
        self._maker = GroupMaker(self._model, self.vllm_config.scheduler_config.max_num_seqs)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="amulet-group")
        self._coming: dict[str, Future[Group]] = {}  # by the id of the first request
        self._line: dict[Group, Request] = {}  # groups that are not admitted, with their first
        self._admitted: set[Group] = set()
        self._failed: set[str] = set()
        self._may_pass_until = float("inf")

    def add_request(self, request: Request) -> None:
        """Takes a request, and begins to make a group of it where it has preferences."""
        is_new = request.request_id not in self.requests
        super().add_request(request)
        sent = sent_request(request.sampling_params)
        if sent is not None and is_new:
            self._coming[request.request_id] = self._threads.submit(
                self._maker.make, request.request_id, sent, request.sampling_params
            )

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """Plans a step, as `LockstepScheduler` does, for the groups that have room."""
        if self._coming:
            self._take_made_groups()
        self._admit()
        if self._admitted:
            # The others are preempted first, and wait behind.
            self.running.sort(key=lambda request: not self._is_admitted(request))
            first = [request for request in self.waiting if self._is_admitted(request)]
            self.waiting.remove_requests(first)
            self.waiting.prepend_requests(first)
        return super().schedule(throttle_prefills)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Reads the tokens of a step, and ends groups as a whole."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if not (self._admitted or self._line or self._failed):
            return outputs
        for request_id in self._failed:
            self._end(request_id, RequestStatus.FINISHED_ERROR, outputs)
        self._failed.clear()
        groups = [*self._admitted, *self._line]
        for group in groups:
            self._end_if_over(group, outputs)
        # Clients know of the first requests only.
        inner = {name for group in groups for name in group.request_ids[1:]}
        for of_client in outputs.values():
            of_client.outputs = [it for it in of_client.outputs if it.request_id not in inner]
        return outputs

    def shutdown(self) -> None:
        """Ends the threads, too."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        super().shutdown()

    def _take_made_groups(self) -> None:
        """Puts groups that are ready into the line."""
        for request_id, made in list(self._coming.items()):
            first = self.requests.get(request_id)
            if first is None:  # the client has gone away
                made.cancel()
                del self._coming[request_id]
            elif made.done():
                del self._coming[request_id]
                try:
                    self._enter(first, made.result())
                except Exception as error:  # noqa: BLE001 - vLLM would end for everybody
                    # Not the message, which may quote a schema.
                    logger.warning("A request was refused: %s", type(error).__name__)
                    self._failed.add(request_id)

    def _enter(self, first: Request, group: Group) -> None:
        """Makes the vLLM requests of a group's other contexts."""
        _join(first.sampling_params, Member(group, 0))
        contexts = group.sequence.contexts
        for index, request_id in enumerate(group.request_ids[1:], start=1):
            params = SamplingParams(
                temperature=0.0,
                max_tokens=first.max_tokens,
                ignore_eos=True,
                detokenize=False,
            )
            _join(params, Member(group, index))
            super().add_request(
                Request(
                    request_id=request_id,
                    prompt_token_ids=list(contexts[index]),
                    sampling_params=params,
                    pooling_params=None,
                    client_index=first.client_index,
                    arrival_time=first.arrival_time,
                    lora_request=first.lora_request,
                    cache_salt=first.cache_salt,
                    block_hasher=first._block_hasher,  # noqa: SLF001 - there is no other way to it
                )
            )
        self._line[group] = first

    def _admit(self) -> None:
        """Admits groups in the order of arrival, as far as there are slots and blocks."""
        self._may_pass_until = float("inf")
        if not self._line:
            return
        used = sum(self._blocks_of(group) for group in self._admitted)
        slots = self.max_num_active_reqs - len(self.running) - self._waiting_members()
        others_since = self._others_wait_since()
        for group, first in list(self._line.items()):
            if others_since < first.arrival_time:
                return
            has_slots = slots >= len(group.request_ids)
            used += self._blocks_of(group)
            if not has_slots or used > self._model.cache_blocks:
                # Who came later takes no slot before this group has all of its own.
                self._may_pass_until = float("inf") if has_slots else first.arrival_time
                return
            slots -= len(group.request_ids)
            del self._line[group]
            self._admitted.add(group)

    def _others_wait_since(self) -> float:
        """When the first request without preferences came that is ready and does not run."""
        ready = (RequestStatus.WAITING, RequestStatus.PREEMPTED)
        return min(
            (
                request.arrival_time
                for request in self.waiting
                if request.status in ready
                and request.request_id not in self._coming
                and request.request_id not in self._failed
                and member_of(request.sampling_params) is None
            ),
            default=float("inf"),
        )

    def _blocks_of(self, group: Group) -> int:
        tokens = self._model.cache_tokens(group.sequence.max_lengths)
        return tokens // self._model.block_size

    def _waiting_members(self) -> int:
        """How many requests of admitted groups have no slot yet."""
        return sum(
            request.status != RequestStatus.RUNNING
            for group in self._admitted
            for request in map(self.requests.get, group.request_ids)
            if request is not None
        )

    def _is_admitted(self, request: Request) -> bool:
        member = member_of(request.sampling_params)
        return member is not None and member.group in self._admitted

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        """Whether a request may leave the queue."""
        if request.request_id in self._coming or request.request_id in self._failed:
            return False
        if member_of(request.sampling_params) is not None:
            may_begin = self._is_admitted(request)
        else:
            may_begin = request.arrival_time <= self._may_pass_until and self._has_free_slot()
        return may_begin and super()._handle_blocked_waiting_request(request)

    def _has_free_slot(self) -> bool:
        """Whether a slot is left beside those of admitted groups."""
        if not self._admitted:
            return True
        return len(self.running) + self._waiting_members() < self.max_num_active_reqs

    def _end_if_over(self, group: Group, outputs: dict[int, EngineCoreOutputs]) -> None:
        """Ends the rest of a group that has ended, in whichever way."""
        sequence, (first_id, *_) = group.sequence, group.request_ids
        first = self.requests.get(first_id)
        if first is None:
            sequence.fail(RequestCancelledError("vLLM has ended the request."))
            self.finish_requests(group.request_ids, RequestStatus.FINISHED_ABORTED)
        elif not sequence.is_sound or not self.requests.keys() >= set(group.request_ids):
            self._end(first_id, RequestStatus.FINISHED_ERROR, outputs)
        elif sequence.done and first.num_output_tokens >= len(sequence.completion):
            self._end(first_id, RequestStatus.FINISHED_STOPPED, outputs)
        if first_id not in self.requests:
            self._admitted.discard(group)
            self._line.pop(group, None)

    def _end(
        self, request_id: str, status: RequestStatus, outputs: dict[int, EngineCoreOutputs]
    ) -> None:
        """Ends a request with its group, and tells its client."""
        for request in self.finish_requests(request_id, status):
            of_client = outputs.setdefault(request.client_index, EngineCoreOutputs())
            of_client.outputs.append(
                EngineCoreOutput(
                    request_id=request.request_id,
                    new_token_ids=[],
                    finish_reason=request.get_finished_reason(),
                    events=request.take_events(),
                    trace_headers=request.trace_headers,
                )
            )


class AsyncGroupScheduler(GroupScheduler, AsyncScheduler):
    """The same over vLLM's scheduler that plans a step while another one runs."""


def make_scheduler(*args: Any, **options: Any) -> GroupScheduler:
    """Makes the scheduler for `--scheduler-cls`; vLLM calls it as it calls a class.

    Raises:
        UnsupportedByEngineError: The contexts of a request cannot be kept in step, with these
            settings or this model.
    """
    config = options["vllm_config"]
    check_installed()
    refuse(settings_faults(config))
    kind = AsyncGroupScheduler if config.scheduler_config.async_scheduling else GroupScheduler
    scheduler = kind(*args, **options)
    refuse(cache_faults(scheduler))
    return scheduler


def _join(params: SamplingParams, member: Member) -> None:
    params.extra_args = {**without_sent(params), **member.as_extra_args()}
