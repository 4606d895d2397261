"""Which positions each new token of a pass may see, as a mask that the model accepts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .attention import GROUPED_SDPA

_FULL, _SLIDING = "full_attention", "sliding_attention"
_APPLY_BOOLEANS = ("sdpa", GROUPED_SDPA)
_ADD = ("eager",)


class RowMasks:
    """Masks for rows of unequal length.

    Most models accept a mask of four dimensions as it is, which states exactly what each token may
    see. Others accept a mask of the positions that hold tokens, and infer the rest as if every row
    ended at the last position. That is right for one token a row if the model sees all of the past.

    Args:
        model: A model. Only its config is read.

    Attributes:
        mixes_lengths: Whether rows of unequal length can get several tokens each.
        hides_padding: Whether rows of unequal length can get one token each.
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
        """Returns the model's argument `attention_mask`.

        Args:
            positions: The new tokens' positions in their rows, (rows, new), on the CPU; 0 for
                padding, which sees the first token only.
            lengths: The number of tokens of each row with the new ones, (rows,), on the CPU.
            padded: Whether some of the new tokens are padding.
            model: The model, for its device and dtype.
        """
        width = int(lengths.max())
        if not padded and bool((lengths == width).all()):
            return {"attention_mask": None}  # the model's own causal mask is right and faster
        if not self.mixes_lengths:
            return {"attention_mask": (torch.arange(width) < lengths[:, None]).to(model.device)}
        return {"attention_mask": self.of(positions.to(model.device), width, model)}

    def of(
        self, positions: Tensor, width: int, model: PreTrainedModel
    ) -> Tensor | dict[str, Tensor]:
        """Returns the mask of tokens that see all before them, for models that mix lengths.

        Args:
            positions: The tokens' positions in their rows, (rows, new), on the model's device.
            width: The number of positions.
            model: The model, for its dtype.

        Returns:
            A mask of shape (rows, 1, new, width), or one for each kind of layer.
        """
        columns = torch.arange(width, device=positions.device)
        masks = {kind: self._mask(kind, positions, columns, model) for kind in self._kinds}
        return masks.popitem()[1] if len(masks) == 1 else masks

    def _mask(
        self, kind: str, positions: Tensor, columns: Tensor, model: PreTrainedModel
    ) -> Tensor:
        """Returns the mask of one kind of layer, (rows, 1, new, width)."""
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
