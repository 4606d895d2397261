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
from amulet_integrations.engine.kv.memory_use import is_out_of_memory
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

_ATTEMPTS = 2  # at a way that fails by anything but its logits
# Errors of the system and of devices. All others are raised by the model's own code.
_OF_THE_MACHINE: tuple[type[Exception], ...] = (OSError, torch.AcceleratorError)


class Architecture(NamedTuple):
    """What a trial has found out about a model.

    Attributes:
        batching: Which rows of unequal length can share a pass.
        bytes_per_token: The bytes of one token's keys and values, in all layers together. Layers
            that use another layer's have none.
    """

    batching: Batching
    bytes_per_token: int


class TrialResult(NamedTuple):
    """The result of a trial.

    Attributes:
        architecture: What was found out.
        is_certain: Whether it is the model's own. It is not if a faster way failed for a reason
            that may lie in the machine, and may be gone next time.
    """

    architecture: Architecture
    is_certain: bool


@torch.inference_mode()
def try_architecture(model: PreTrainedModel) -> TrialResult:
    """Finds the fastest way to run a model in which all logits are right.

    It takes about fifteen passes of few tokens, and where a sliding window is short enough some
    that are longer than it. A way that fails by anything but its logits is tried twice.

    Args:
        model: A model in eval mode and on its device.

    Raises:
        UnsupportedModelError: There is no such way.
        Exception: Memory ran out, which says nothing about the model; as torch raises it.
    """
    try:
        texts = plain_texts(model)
        tolerance = tolerated_difference(model, texts)
        check_own_cache(model, texts[-1], tolerance)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _unsupported(model, error) from error
    failure: Exception | None = None
    is_certain = True
    for batching in Batching:
        outcome = _outcome(_Trial(ForwardPass(model, batching), texts, tolerance))
        if isinstance(outcome, int):
            return TrialResult(Architecture(batching, outcome), is_certain)
        failure = outcome[-1]
        is_certain = is_certain and _is_of_the_model(outcome)
        logger.info("%s: not %s, because %s", model_name(model), batching.value, failure)
    raise _unsupported(model, failure) from failure


def _outcome(trial: _Trial) -> int | list[Exception]:
    """Returns the bytes of one token, or the errors for which a way cannot be taken."""
    errors: list[Exception] = []
    while not errors or not (len(errors) == _ATTEMPTS or isinstance(errors[-1], TrialError)):
        try:
            return trial.run()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            errors.append(error)
    return errors


def _is_of_the_model(errors: Sequence[Exception]) -> bool:
    """Returns whether a way fails for the model's sake: by its logits, or alike every time."""
    kinds = {type(error) for error in errors}
    return len(kinds) == 1 and not isinstance(errors[0], _OF_THE_MACHINE)


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
