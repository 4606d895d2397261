"""From the logits of a pass to tokens: one for each request, and more where drafts were right."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from amulet_integrations.engine.result import as_generation_error
from amulet_integrations.engine.sampling.token_choice import BatchMixing, Pick, pick_tokens
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import AmuletError


def take_tokens(
    sequences: SequenceOf[Sequence],
    drafts: SequenceOf[SequenceOf[int]],
    logits: Tensor,
    mixing: BatchMixing,
) -> list[int]:
    """Picks tokens for as long as they are those of the draft, and one more.

    Every token is picked from the policy after all tokens before it, whatever was drafted, with
    the request's own random state. So the completion is the one that it would be without drafts;
    they only change how many of its tokens one pass gives.

    Args:
        sequences: The requests, in the order of their rows.
        drafts: For each of them, the tokens that were appended after its last one.
        logits: Shape (rows, positions, vocab); each request's own positions are the last ones.
        mixing: How all of them are mixed.

    Returns:
        For each request, how many tokens it was given.
    """
    taken = [0] * len(sequences)
    going = list(range(len(sequences)))
    while going:
        those = [sequences[index] for index in going]
        here = _at(logits, sequences, going, [taken[i] - 1 - len(drafts[i]) for i in going])
        hand_out(those, pick_tokens(those, here, mixing.of(those)))
        mixing = BatchMixing(logits.device)  # the one of all requests stays as it is
        for index in going:
            taken[index] += 1
        going = [i for i in going if _goes_on(sequences[i], drafts[i], taken[i])]
    return taken


def hand_out(sequences: SequenceOf[Sequence], picks: SequenceOf[Pick | AmuletError]) -> None:
    """Gives every request its token, or ends it with what went wrong."""
    for sequence, pick in zip(sequences, picks, strict=True):
        if isinstance(pick, AmuletError):
            sequence.fail(pick)
            continue
        try:
            sequence.advance(pick.token, pick.logprob, pick.fraction)
        except Exception as error:  # noqa: BLE001 - one request's text is its own affair
            sequence.fail(as_generation_error("Turning tokens into text", error))


def _goes_on(sequence: Sequence, draft: SequenceOf[int], taken: int) -> bool:
    """Whether the last token was the one drafted, so that logits after it are at hand."""
    right = taken <= len(draft) and sequence.completion[-1] == draft[taken - 1]
    return right and not sequence.done


def _at(
    logits: Tensor, sequences: SequenceOf[Sequence], which: SequenceOf[int], at: SequenceOf[int]
) -> Tensor:
    """The logits of some requests' rows, each at its own position, counted from the end."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    rows: list[int] = []
    positions: list[int] = []
    first = 0
    of_request = dict(zip(which, at, strict=True))
    for index, sequence in enumerate(sequences):
        end = first + len(sequence.contexts)
        if index in of_request:
            rows += range(first, end)
            positions += [of_request[index] % logits.shape[1]] * (end - first)
        first = end
    return logits[torch.tensor(rows), torch.tensor(positions)]
