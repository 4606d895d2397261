"""vLLM's schedulers, which keep the contexts of a request in step.

A member of a group may compute all of its tokens but the last. Once all members stand there, they
are released: the last token of each is computed in the same step, and so are all that follow. Which
requests run at all was decided before, by the engine's own scheduler, so that there is always room
for whole groups.

vLLM does not promise to keep these methods; `start_up` names the versions that they are tested
with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from .groups import Group, member_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm.v1.core.sched.output import SchedulerOutput


class LockstepScheduler(Scheduler):
    """vLLM's scheduler, with groups in step.

    Attributes:
        idle_steps: How many steps in a row have computed nothing.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.idle_steps = 0
        self._released: set[Group] = set()
        self._only_released = False

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:  # noqa: ARG002
        """Plans a step, in which each group takes part as a whole or computes its prompts."""
        groups = self._groups()
        for group, members in groups.items():
            if any(_written(request) != len(group.sequence.completion) for request in members):
                group.fail_out_of_step()
        self._released = {
            group
            for group, members in groups.items()
            if len(members) == len(group.request_ids) and all(map(_has_one_token_left, members))
        }
        # Their tokens come before prompts, which take what is left of the step.
        self.running.sort(key=lambda request: not self._is_released(request))
        first = [request for request in self.waiting if self._is_released(request)]
        self._only_released = bool(first)
        self.waiting.remove_requests(first)
        self.waiting.prepend_requests(first)
        output = super().schedule(throttle_prefills=False)
        self._read_plan(output, groups)
        return output

    def finish_requests(
        self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus
    ) -> list[Request]:
        """Ends requests, and with each of them its whole group."""
        if request_ids is None:
            return super().finish_requests(None, finished_status)
        ids = [request_ids] if isinstance(request_ids, str) else list(request_ids)
        for request_id in list(ids):
            request = self.requests.get(request_id)
            member = member_of(request.sampling_params) if request else None
            ids += member.group.request_ids if member else ()
        return super().finish_requests(ids, finished_status)

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        """Whether a request may leave the queue; others may, where this one may not yet."""
        ready: bool = super()._handle_blocked_waiting_request(request)
        waits_for_others = request.num_tokens == 1 and not self._is_released(request)
        return ready and not (waits_for_others and self._is_in_step(request))

    def _reserve_prefill_lookahead(
        self, request: Request, num_computed_tokens: int, num_new_tokens: int
    ) -> int:
        """The gate: how many tokens a request may compute in this step."""
        planned: int = super()._reserve_prefill_lookahead(
            request, num_computed_tokens, num_new_tokens
        )
        if self._is_released(request):
            return planned
        if self._only_released:
            return 0
        if not self._is_in_step(request):
            return planned
        last = request.num_tokens + request.num_output_placeholders - 1
        return max(0, min(planned, last - num_computed_tokens))

    def _get_local_prefix_cache_hit(self, request: Request, *args: Any, **options: Any) -> Any:
        """A kept prefix, but for its last block where only one token would be left to compute.

        A request of which no token may be computed yet could not leave the queue.
        """
        hit = super()._get_local_prefix_cache_hit(request, *args, **options)
        blocks, tokens, *others = hit
        if not self._is_in_step(request) or request.num_tokens - tokens > 1:
            return hit
        kept = max(0, tokens - self.block_size)
        return (self.kv_cache_manager.truncate_computed_blocks(blocks, kept), kept, *others)

    def _groups(self) -> dict[Group, list[Request]]:
        """The groups whose requests have not ended, with these."""
        groups: dict[Group, list[Request]] = {}
        for request in self.requests.values():
            member = member_of(request.sampling_params)
            if member is not None and not request.is_finished():
                groups.setdefault(member.group, []).append(request)
        return groups

    def _is_in_step(self, request: Request) -> bool:
        """Whether a request keeps step with others."""
        member = member_of(request.sampling_params)
        return member is not None and not member.group.is_single

    def _is_released(self, request: Request) -> bool:
        member = member_of(request.sampling_params)
        return member is not None and member.group in self._released

    def _read_plan(self, output: SchedulerOutput, groups: dict[Group, list[Request]]) -> None:
        """Finds out which groups get their next token, and what had been computed before."""
        self.idle_steps = 0 if output.num_scheduled_tokens else self.idle_steps + 1
        for new in output.scheduled_new_reqs:
            if member := member_of(new.sampling_params):
                member.group.sequence.cached_tokens[member.context] = new.num_computed_tokens
        for group, members in groups.items():
            gets_token = [
                request.request_id in output.num_scheduled_tokens and not request.is_prefill_chunk
                for request in members
            ]
            group.is_due = all(gets_token)
            if any(gets_token) and not group.is_due:
                group.fail_out_of_step()


class AsyncLockstepScheduler(LockstepScheduler, AsyncScheduler):
    """The same over vLLM's scheduler that plans a step while another one runs."""


def _written(request: Request) -> int:
    """How many tokens a request has been given, those that vLLM has not read yet included."""
    return int(request.num_output_tokens + request.num_output_placeholders)


def _has_one_token_left(request: Request) -> bool:
    """Whether all tokens but one are computed, so that the step which computes it samples."""
    known = request.num_tokens + request.num_output_placeholders
    return bool(known - request.num_computed_tokens == 1)
