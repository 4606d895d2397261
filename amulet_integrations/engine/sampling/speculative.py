"""Speculative verification: one pass gives a token, and one more for each right drafted token."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from itertools import accumulate

import torch
from torch import Tensor

from amulet_integrations.engine.result import as_generation_error
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import AmuletError

from .token_choice import ChosenToken, Mixing, choose_tokens


def verify_drafts(
    sequences: SequenceOf[Sequence],
    drafts: SequenceOf[SequenceOf[int]],
    logits: Tensor,
    mixing: Mixing,
) -> list[int]:
    """Chooses tokens for as long as they are those of the draft, and one more.

    Every token is chosen from the policy after all tokens before it, whatever the draft was, with
    the request's own random state. So the completion is the same as without drafts; they only
    change how many of its tokens one pass gives.

    Args:
        sequences: The requests, in the order of their rows.
        drafts: For each request, the drafted tokens that were appended after its last token.
        logits: Shape (rows, positions, vocab). A request's own positions are the last ones.
        mixing: From `cached_mixing`.

    Returns:
        For each request, how many tokens were appended to its completion.
    """
    counts = [0] * len(sequences)
    active = list(range(len(sequences)))
    while active:
        batch = [sequences[index] for index in active]
        positions = {index: counts[index] - 1 - len(drafts[index]) for index in active}
        append_tokens(batch, choose_tokens(batch, _logits_at(logits, sequences, positions), mixing))
        for index in active:
            counts[index] += 1
        active = [i for i in active if _is_confirmed(sequences[i], drafts[i], counts[i])]
    return counts


def append_tokens(
    sequences: SequenceOf[Sequence], choices: SequenceOf[ChosenToken | AmuletError]
) -> None:
    """Appends its token to every request, or ends the request with its error."""
    for sequence, choice in zip(sequences, choices, strict=True):
        if isinstance(choice, AmuletError):
            sequence.fail(choice)
            continue
        try:
            sequence.advance(*choice)
        except Exception as error:  # noqa: BLE001 - one request's text concerns no other request
            sequence.fail(as_generation_error("Turning tokens into text", error))


def _is_confirmed(sequence: Sequence, draft: SequenceOf[int], count: int) -> bool:
    """Whether the last token is the drafted one, so that the logits after it are known."""
    confirmed = count <= len(draft) and sequence.completion[-1] == draft[count - 1]
    return confirmed and not sequence.done


def _logits_at(
    logits: Tensor, sequences: SequenceOf[Sequence], positions: Mapping[int, int]
) -> Tensor:
    """The logits of some requests' rows, (rows, vocab).

    Args:
        logits: The logits of all requests.
        sequences: All requests.
        positions: The wanted requests, each with its position, counted from the end.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    ends = list(accumulate(len(sequence.contexts) for sequence in sequences))
    return torch.cat(
        [
            logits[ends[index] - len(sequences[index].contexts) : ends[index], position]
            for index, position in positions.items()
        ]
    )
