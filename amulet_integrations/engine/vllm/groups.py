"""The vLLM requests of one request, which live and die as one."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import GenerationError

if TYPE_CHECKING:
    from vllm import SamplingParams

_MEMBER = "amulet_member"  # in the extra arguments of a vLLM request
_numbers = count(1)


class Group:
    """A request and its vLLM requests, one for each context that is run.

    Args:
        sequence: The request.
        first_id: The name of the vLLM request of the first context, where it is there already.
        is_masked: Whether vLLM itself excludes tokens from the first context's logits.

    Attributes:
        sequence: The same.
        request_ids: The names of the vLLM requests, in the order of the contexts.
        is_masked: The same. What is excluded there is excluded in every context.
        is_due: Whether the step that runs now computes the logits of the next token in every
            context. Rows of other steps belong to prompts that are not complete.
    """

    def __init__(
        self, sequence: Sequence, *, first_id: str | None = None, is_masked: bool = False
    ) -> None:
        number = next(_numbers)
        first, *others = (f"amulet-{number}-{row}" for row in range(len(sequence.contexts)))
        self.sequence = sequence
        self.request_ids = (first_id or first, *others)
        self.is_masked = is_masked
        self.is_due = False

    def __repr__(self) -> str:
        return f"Group({', '.join(self.request_ids)})"

    @property
    def is_single(self) -> bool:
        """Whether there is one context only, which waits for no other."""
        return len(self.request_ids) == 1

    def fail_out_of_step(self) -> None:
        """Ends the request because its contexts do not stand at the same token."""
        self.is_due = False
        self.sequence.fail(
            GenerationError(
                "vLLM computed the contexts of the request at different tokens, so it was ended. "
                "Send it again; if that happens often, lower max_num_seqs of the engine."
            )
        )


class Member(NamedTuple):
    """One vLLM request of a group.

    Attributes:
        group: The group.
        context: Which context it decodes.
    """

    group: Group
    context: int

    def as_extra_args(self) -> dict[str, object]:
        """What `member_of` finds in the parameters of the vLLM request."""
        return {_MEMBER: self}


def member_of(params: SamplingParams | None) -> Member | None:
    """Returns which member of a group a vLLM request is; None for a request of somebody else."""
    member = (params.extra_args or {}).get(_MEMBER) if params is not None else None
    return member if isinstance(member, Member) else None
