"""The logits processor for vLLM's model runner V2, in which requests have slots.

It is tested on vLLM's own data structures, without the runner, which needs a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor

from .group_choice import GroupChoice
from .groups import Member, member_of
from .sent_request import check_not_forged

if TYPE_CHECKING:
    import torch
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.worker.gpu.sample.logits_processor.interface import (
        LogitsContext,
        LogitsProcRequestState,
    )


class SlotProcessor(LogitsProcessor):
    """Chooses the tokens of groups in vLLM's model runner V2.

    Args:
        vllm_config: vLLM's settings.
        req_states: Where vLLM keeps what it knows of the slots.
    """

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        super().__init__(vllm_config, req_states)
        self._choice = GroupChoice(req_states.device)
        self._members: dict[int, Member] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuses requests of clients that use the names of this package.

        Raises:
            InvalidRequestError: A client has sent them.
        """
        check_not_forged(sampling_params.extra_args)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        """Takes note of the request in a slot; returns whether it is one of a group."""
        member = member_of(sampling_params)
        if member is None:
            self._members.pop(req_idx, None)
            return False
        self._members[req_idx] = member
        return True

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """Chooses a token for each group that is due; logits of shape (rows, vocab)."""
        slots = ctx.idx_mapping_np.tolist()
        members = {
            row: self._members[slot] for row, slot in enumerate(slots) if slot in self._members
        }
        return self._choice.apply(logits, members)
