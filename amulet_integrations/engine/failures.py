"""Whatever goes wrong while decoding, as an error of ours."""

from __future__ import annotations

import traceback

from amulet_integrations.errors import GenerationError


def as_generation_error(what: str, error: BaseException) -> GenerationError:
    """Makes an error of ours, caused by `error`.

    Args:
        what: What failed, as the beginning of a sentence.
        error: What was raised. The variables of its frames are let go of: they may be tensors,
            and callers may keep the error for long.
    """
    if error.__traceback__ is not None:
        # The frame that caught it is still at work and cannot be cleared, so it is left out.
        error.__traceback__ = error.__traceback__.tb_next
    traceback.clear_frames(error.__traceback__)
    failure = GenerationError(f"{what} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
