"""What tells two models, or two ways to write prompts, apart where their names do not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from amulet_integrations.engine.backends.transformers.fingerprint import sample_of

if TYPE_CHECKING:
    from torch import nn


def weights_digest(model: nn.Module) -> str:
    """The SHA-256 of a sample of every weight.

    A few values of each tensor are enough, for training moves nearly all of them, and reading all
    would take as long as loading the model.

    Args:
        model: A model.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
        with suppress(NotImplementedError, RuntimeError, TypeError):  # packed, or on no device
            found.update(sample_of(tensor).cpu().double().numpy().tobytes())
    return found.hexdigest()


def prompts_digest(prompts: Iterable[Sequence[Sequence[int]]]) -> str:
    """The SHA-256 of the token ids of all contexts of all questions.

    Args:
        prompts: For each question the token ids of its contexts.
    """
    return hashlib.sha256(
        json.dumps([list(map(list, ids)) for ids in prompts]).encode()
    ).hexdigest()
