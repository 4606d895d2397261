"""A trial of a few tokens that finds out what a model's architecture can do.

Rows that run together, their own cache, kept prefixes and masks of their own must change no logit.
Whether a model's code allows that is found by comparing with plain transformers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.errors import UnsupportedModelError

from .forward_pass import ForwardPass
from .masks import Batching
from .model_info import model_name
from .plain_texts import (
    COMPLETION_TOKENS,
    Text,
    TrialError,
    check_own_cache,
    difference,
    plain_texts,
    tolerated_difference,
)
from .row_cache import RowCache

logger = logging.getLogger(__name__)


class Architecture(NamedTuple):
    """What a trial has found out about a model.

    Attributes:
        batching: Which rows of unequal length can share a pass.
        bytes_per_token: The bytes of one token's keys and values, in all layers together. Layers
            that use another layer's have none.
    """

    batching: Batching
    bytes_per_token: int


@torch.inference_mode()
def try_architecture(model: PreTrainedModel) -> Architecture:
    """Finds the fastest way to run a model in which all logits are right.

    It takes about fifteen passes of few tokens, and where a sliding window is short enough some
    that are longer than it.

    Args:
        model: A model in eval mode and on its device.

    Raises:
        UnsupportedModelError: There is no such way.
    """
    try:
        texts = plain_texts(model)
        tolerance = tolerated_difference(model, texts)
        check_own_cache(model, texts[-1], tolerance)
    except Exception as error:
        raise _unsupported(model, error) from error
    failure: Exception | None = None
    for batching in Batching:
        trial = _Trial(ForwardPass(model, batching), texts, tolerance)
        try:
            return Architecture(batching, trial.run())
        except Exception as error:  # noqa: BLE001 - a model's own code raises any error
            failure = error
            logger.info("%s: not %s, because %s", model_name(model), batching.value, error)
    raise _unsupported(model, failure) from failure


class _Trial:
    """Runs texts through one way of batching and compares their logits."""

    def __init__(self, forward: ForwardPass, texts: Sequence[Text], tolerance: float) -> None:
        self._forward = forward
        self._texts = texts
        self._tolerance = tolerance

    def run(self) -> int:
        """Returns the bytes of one token's keys and values.

        Raises:
            TrialError: Some logits differ.
        """
        used = self._alone(self._texts[-1])
        self._together(*self._texts)
        return used

    def _alone(self, text: Text) -> int:
        cache = RowCache()
        cache.add(1)
        self._append(cache, "alone", [(0, text, text.prompt)])
        self._append(cache, "alone, with the cache", [(0, text, text.completion[:1])])
        if not cache.bytes_per_token:
            raise TrialError("it keeps no keys and values of the past")
        return cache.bytes_per_token

    def _together(self, short: Text, middle: Text, long: Text) -> None:
        cache = RowCache()
        cache.add(3)
        rows = list(enumerate((short, middle, long)))
        self._append(cache, "beside others", [(row, text, text.prompt) for row, text in rows])
        self._append(
            cache,
            "beside longer texts, with the cache",
            [(row, text, text.completion[:1]) for row, text in rows],
        )
        self._append(
            cache,
            "with several tokens a pass",
            [
                (0, short, short.completion[1:]),
                (1, middle, middle.completion[1:2]),
                (2, long, long.completion[1:]),
            ],
        )
        shared = max(0, len(long.prompt) - 2)
        prefix = cache.save(2, len(long.prompt))
        cache.add(1)
        cache.load(3, prefix, shared)
        self._append(
            cache,
            "after a kept prefix",
            [(1, middle, middle.completion[2:]), (3, long, long.prompt[shared:])],
        )
        cache.keep([1, 3])
        cache.truncate(0, len(middle.prompt))
        self._append(
            cache,
            "after others have left",
            [(0, middle, middle.completion[:1]), (1, long, long.completion[:1])],
        )

    def _append(
        self,
        cache: RowCache,
        situation: str,
        inputs: Sequence[tuple[int, Text, Sequence[int]]],
    ) -> None:
        """Appends tokens to rows and compares the logits after them."""
        rows = [RowInput(row, list(ids)) for row, _, ids in inputs]
        logits = self._forward(cache, rows, COMPLETION_TOKENS)
        for (row, text, ids), of_row in zip(inputs, logits, strict=True):
            end = cache.lengths[row] - len(text.prompt) + 1
            right = text.logits[max(0, end - len(ids)) : end]
            if (off := difference(of_row[-len(right) :], right)) > self._tolerance:
                raise TrialError(
                    f"{situation}, its logits differ from plain transformers' by {off:.2g} "
                    f"(at most {self._tolerance:.2g} is rounding)"
                )


def _unsupported(model: PreTrainedModel, cause: Exception | None) -> UnsupportedModelError:
    reason = " ".join(str(cause).split()).rstrip(".")
    if not isinstance(cause, TrialError):
        reason = f"{type(cause).__name__}: {reason}"
    training = " It is in training mode: call model.eval() first." if model.training else ""
    return UnsupportedModelError(
        f"{model_name(model)} ({model.config.model_type}) was tried out before its first use, and "
        f"cannot be run: {reason}.{training} Use a decoder-only model that keeps keys and values "
        "of the past and sees no later tokens."
    )
