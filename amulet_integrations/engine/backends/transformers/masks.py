"""Which positions each new token of a pass may see, in the form that a model takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.transformers.attention import GROUPED_SDPA

_FULL, _SLIDING = "full_attention", "sliding_attention"
_APPLY_BOOLEANS = ("sdpa", GROUPED_SDPA)
_ADD = ("eager",)


class RowMasks:
    """Masks for rows of unequal length.

    Most models take a mask of four dimensions as it is, so each token can be told exactly what to
    see. Others are told which positions hold tokens at all and make up the rest themselves, as if
    every row ended at the last position: right for one token a row, if all they see is the past.

    Args:
        model: Its config says how it attends.

    Attributes:
        mixes_lengths: Whether rows may get several tokens each, however long they are.
        hides_padding: Whether rows of unequal length may get one token each.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        self._window: int | None = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or [])
        self._kinds = kinds or {_SLIDING if self._window else _FULL}
        known = self._kinds <= {_FULL, _SLIDING} and (self._window or _SLIDING not in self._kinds)
        attention = getattr(config, "_attn_implementation", None)
        self._adds = attention in _ADD
        self.mixes_lengths = bool(
            known
            and attention in (*_APPLY_BOOLEANS, *_ADD)
            and getattr(model, "_supports_attention_backend", False)
            and not getattr(config, "alibi", False)
        )
        local = "local" in (getattr(config, "attention_layers", None) or [])
        self.hides_padding = self.mixes_lengths or (self._kinds == {_FULL} and not local)

    def inputs(
        self, positions: Tensor, lengths: Tensor, padded: bool, model: PreTrainedModel
    ) -> dict[str, Any]:
        """The model's argument `attention_mask`, if it needs any.

        Args:
            positions: Of the new tokens in their rows, (rows, new), on the CPU; 0 for padding,
                which sees the first token only.
            lengths: Tokens of each row, the new ones included, (rows,), on the CPU.
            padded: Whether some of the new ones are padding.
            model: Its device and dtype.
        """
        width = int(lengths.max())
        if not padded and bool((lengths == width).all()):
            return {"attention_mask": None}  # the model's own causal mask is right, and quicker
        if not self.mixes_lengths:
            return {"attention_mask": (torch.arange(width) < lengths[:, None]).to(model.device)}
        return {"attention_mask": self.of(positions.to(model.device), width, model)}

    def of(
        self, positions: Tensor, width: int, model: PreTrainedModel
    ) -> Tensor | dict[str, Tensor]:
        """The mask of tokens that see all before them, for models that mix lengths.

        Args:
            positions: Of the tokens in their rows, (rows, new), on the model's device.
            width: Positions that there are.
            model: Its dtype.

        Returns:
            Shape (rows, 1, new, width), or one for each kind of layer.
        """
        columns = torch.arange(width, device=positions.device)
        masks = {kind: self._mask(kind, positions, columns, model) for kind in self._kinds}
        return masks.popitem()[1] if len(masks) == 1 else masks

    def _mask(
        self, kind: str, positions: Tensor, columns: Tensor, model: PreTrainedModel
    ) -> Tensor:
        """Shape (rows, 1, new, width)."""
        seen = columns <= positions[:, :, None]
        if kind == _SLIDING and self._window:
            seen &= columns > positions[:, :, None] - self._window
        mask = seen[:, None]
        if not self._adds:
            return mask
        least = torch.finfo(model.dtype).min
        return torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill_(
            ~mask, least
        )
