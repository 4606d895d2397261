"""Finds out whether a model's sequences can be cut and share a beginning, before its first use."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from amulet_integrations.errors import UnsupportedModelError

from .llama_batch import SequenceInput
from .llama_context import DecodeError, LlamaCppContext
from .llama_model import LlamaCppModel

_CELLS = 256
_TEXT = "The sea covers most of the planet, and people have sailed it for thousands of years."
_SHARED, _TOKENS = 8, 12
_MOST_DIFFERENCE = 0.35  # of the logits' spread; rounding makes 0.06 at most
_QUANTIZED = 0.5
_ROUNDING_OF_WEIGHTS = {"0": 0.01, "1": 0.05, "32": 0.1}  # general.file_type: F32, F16, BF16
_ROUNDING_OF_CACHE = {"f32": 0.01, "f16": 0.01, "bf16": 0.1}
_EXACT = 0.001


class Trial(NamedTuple):
    """What the trial has found.

    Attributes:
        bytes_per_token: What the keys and values of a token take.
        logits_tolerance: As in `Backend`.
    """

    bytes_per_token: int
    logits_tolerance: float


def try_model(model: LlamaCppModel) -> Trial:
    """Decodes a few tokens alone, and again with a shared beginning, in company, and once cut.

    Raises:
        UnsupportedModelError: The logits differ by more than rounding, or there are none.
    """
    context = LlamaCppContext(model, 3, _CELLS)
    try:
        ids = _token_ids(model)
        alone = _logits(context, [SequenceInput(0, 0, ids)])
        whole = context.sequence_bytes(0)
        context.share(0, 1, _SHARED)
        beginning = context.sequence_bytes(1)
        tail = SequenceInput(1, _SHARED, ids[_SHARED:])
        other = SequenceInput(2, 0, ids[3:])
        shared = _logits(context, [tail, other])
        context.truncate(1, _SHARED)
        again = _logits(context, [tail])
    except DecodeError as error:
        raise UnsupportedModelError(
            f"{str(model.path)!r} cannot be decoded with. {error} Options such as rope_freq_base "
            "may be wrong for it, too."
        ) from error
    finally:
        context.close()
    spread = float(alone.std())
    for logits in (shared, again):
        if not float((logits - alone).square().mean().sqrt()) <= _MOST_DIFFERENCE * spread:
            raise UnsupportedModelError(
                f"{str(model.path)!r}: the logits after a text change where its tokens are taken "
                "back, or shared with another row. llama.cpp keeps a state for this family "
                f"({model.architecture!r}) that the engine cannot work with."
            )
    return Trial(max(1, (whole - beginning) // (_TOKENS - _SHARED)), _rounding(model) * spread)


def _token_ids(model: LlamaCppModel) -> list[int]:
    ids = model.tokenize(_TEXT)
    return [*ids, *range(_TOKENS)][:_TOKENS] if model.n_vocab > _TOKENS else [0] * _TOKENS


def _logits(context: LlamaCppContext, inputs: list[SequenceInput]) -> Tensor:
    """The logits after the first input."""
    logits, _ = context.decode(inputs, 1)
    return logits[0].clone()


def _rounding(model: LlamaCppModel) -> float:
    """How far logits move by rounding, in parts of their spread.

    Activations between quantized weights are rounded to 8 bits, so that the least difference
    becomes a step at some of them, layer after layer.
    """
    options = model.options
    cache = {options.type_k, options.type_v}
    weights = _ROUNDING_OF_WEIGHTS.get(model.metadata.get("general.file_type", ""), _QUANTIZED)
    # Flash attention rounds keys and values to 16 bits.
    if cache == {"f32"} and options.flash_attn is False and weights == _ROUNDING_OF_WEIGHTS["0"]:
        return _EXACT
    return max(weights, *(_ROUNDING_OF_CACHE.get(kind, _QUANTIZED) for kind in cache), 0.0)
