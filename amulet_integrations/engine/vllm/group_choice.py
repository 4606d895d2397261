"""One token for each group out of a step's logits: the core of both logits processors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from amulet_integrations.engine.result import as_generation_error
from amulet_integrations.engine.sampling.speculative import append_tokens
from amulet_integrations.engine.sampling.token_choice import cached_mixing, choose_tokens

from .groups import Group, Member

_EXCLUDED = -1e5  # far below what a mixture of logits may come to


class GroupChoice:
    """Chooses tokens as `LocalEngine` does, and has vLLM take them.

    Args:
        device: The device of the logits.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._mixing = cached_mixing(device)

    def apply(self, logits: Tensor, members: Mapping[int, Member]) -> Tensor:
        """Chooses the next token of each group that is due, and leaves other rows alone.

        The requests emit their tokens here. vLLM, which draws greedily, takes the same ones, for
        they are the only ones that the rows leave.

        Args:
            logits: Shape (rows, vocab), float32; changed in place.
            members: Which row belongs to which member.

        Returns:
            The same logits.
        """
        groups = _due_groups(members)
        if not groups:
            return logits
        sequences = [group.sequence for group in groups]
        rows = torch.tensor([row for of_group in groups.values() for row in of_group])
        try:
            own = _masked_alike(groups, logits[rows.to(self._device)])
            chosen = choose_tokens(sequences, own, self._mixing)
            append_tokens(sequences, chosen)
        except Exception as error:  # noqa: BLE001 - vLLM would end the requests of everybody
            failure = as_generation_error("Sampling", error)
            for sequence in sequences:
                sequence.fail(failure)
            return logits
        taken = [
            (row, group.sequence.completion[-1])
            for group, of_group in groups.items()
            if group.sequence.is_sound
            for row in of_group
        ]
        if taken:
            index = torch.tensor(taken, device=self._device).T
            logits[index[0]] = -torch.inf
            logits[index[0], index[1]] = 0.0
        return logits


def _masked_alike(groups: Mapping[Group, list[int]], logits: Tensor) -> Tensor:
    """Excludes in every context of a group what vLLM has excluded in the first one.

    Args:
        groups: The groups, each with its rows.
        logits: These rows, shape (rows, vocab); changed in place.

    Returns:
        The same logits. Where a token is excluded they are equal and finite, so that they are
        equal in every mixture, too.
    """
    start = 0
    for group, of_group in groups.items():
        end = start + len(of_group)
        if group.is_masked:
            logits[start:end].masked_fill_(logits[start].isneginf(), _EXCLUDED)
        start = end
    return logits


def _due_groups(members: Mapping[int, Member]) -> dict[Group, list[int]]:
    """The groups whose next token is due, each with its rows in the order of the contexts."""
    rows: dict[Group, dict[int, int]] = {}
    for row, (group, index) in members.items():
        if group.is_due and not group.sequence.done:
            rows.setdefault(group, {})[index] = row
    due: dict[Group, list[int]] = {}
    for group, of_group in rows.items():
        if len(of_group) != len(group.request_ids):
            group.fail_out_of_step()
            continue
        group.is_due = False
        due[group] = [of_group[index] for index in range(len(of_group))]
    return due
