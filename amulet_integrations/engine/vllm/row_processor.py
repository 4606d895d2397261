"""The logits processor for vLLM's model runner V1, which says which rows a step has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import LogitsProcessor

from .group_choice import GroupChoice
from .groups import Member, member_of
from .sent_request import check_not_forged

if TYPE_CHECKING:
    import torch
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor.interface import BatchUpdate


class RowProcessor(LogitsProcessor):
    """Chooses the tokens of groups in vLLM's model runner V1.

    Args:
        vllm_config: vLLM's settings.
        device: The device of the logits.
        is_pin_memory: Not used.
    """

    def __init__(
        self,
        vllm_config: VllmConfig,  # noqa: ARG002 - vLLM's signature
        device: torch.device,
        is_pin_memory: bool,  # noqa: ARG002
    ) -> None:
        self._choice = GroupChoice(device)
        self._members: dict[int, Member] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuses requests of clients that use the names of this package.

        Raises:
            InvalidRequestError: A client has sent them.
        """
        check_not_forged(sampling_params.extra_args)

    def is_argmax_invariant(self) -> bool:
        """Tells vLLM that the likeliest token may be another one afterwards."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows requests to their rows."""
        process_dict_updates(self._members, batch_update, _member)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Chooses a token for each group that is due; logits of shape (rows, vocab)."""
        return self._choice.apply(logits, self._members)


def _member(params: SamplingParams, _prompt: list[int] | None, _output: list[int]) -> Member | None:
    return member_of(params)
