"""What a model's weights and layers measure, found out from its config, without weights.

The model is built on torch's device "meta" and reads one token there. So sizes are those of the
model's own code: grouped heads, latent attention, layers that share keys and tied embeddings need
no formulas here.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache

from amulet_integrations.errors import UnsupportedModelError

from .model_info import check_attention_only, takes_argument


@dataclass(frozen=True)
class LayerSize:
    """What one layer keeps of the text.

    Attributes:
        elements: The numbers in the keys and values of one token.
        window: For how many tokens they are needed; None for all.
    """

    elements: int
    window: int | None


@dataclass(frozen=True)
class ModelSize:
    """What a model measures; tied weights count once.

    Attributes:
        in_matrices: The weights in matrices, without those of the output layer.
        in_output: The weights of the output layer, which are often the embeddings' too.
        in_vectors: All other weights, such as those of norms.
        hidden_size: The length of a row of the output layer's weight.
        layers: The layers that keep something.
    """

    in_matrices: int
    in_output: int
    in_vectors: int
    hidden_size: int
    layers: tuple[LayerSize, ...]

    @property
    def parameters(self) -> int:
        """The number of all weights."""
        return self.in_matrices + self.in_output + self.in_vectors


_measured: dict[tuple[type, str], ModelSize] = {}


def measure_model(config: PreTrainedConfig) -> ModelSize:
    """Builds a model without weights and measures it, once for equal configs.

    Raises:
        UnsupportedModelError: The model keeps more of the past than keys and values, or its code
            does not run without weights.
    """
    key = type(config), config.to_json_string()
    if key not in _measured:
        _measured[key] = _measure(config)
    return _measured[key]


def _measure(config: PreTrainedConfig) -> ModelSize:
    model = _without_weights(config)
    check_attention_only(model)
    weights = list(model.parameters())  # each one once, however often it is tied
    output = cast("Tensor", (model.get_output_embeddings() or model.get_input_embeddings()).weight)
    in_vectors = sum(weight.numel() for weight in weights if weight.ndim <= 1)
    return ModelSize(
        in_matrices=sum(weight.numel() for weight in weights) - in_vectors - output.numel(),
        in_output=output.numel(),
        in_vectors=in_vectors,
        hidden_size=output.shape[-1],
        layers=tuple(_layers(model)),
    )


def _without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            # Kernels of experts want this type. The copy is for transformers, which writes it down.
            model: Any = AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.bfloat16)
    except Exception as error:  # a config that is not whole raises any error
        raise _unsupported(config, error) from error
    return cast("PreTrainedModel", model.eval())


def _layers(model: PreTrainedModel) -> Iterator[LayerSize]:
    """Lets the model read one token; yields what each layer that keeps anything keeps of it."""
    windows = DynamicCache(config=model.config).layers
    layers: list[Any] = _cache_of_one_token(model).layers
    for index, layer in enumerate(layers):
        of_config = windows[index] if index < len(windows) else None
        states = (layer.keys, layer.values)
        yield LayerSize(
            elements=sum(each.numel() for each in states if each is not None),
            window=getattr(of_config, "sliding_window", None),
        )


def _cache_of_one_token(model: PreTrainedModel) -> DynamicCache:
    token = torch.zeros(1, 1, dtype=torch.long, device="meta")
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device="meta")
    places = {"attention_mask": mask, "position_ids": token}
    places = {name: value for name, value in places.items() if takes_argument(model, name)}
    try:
        return _read(model, token)
    except Exception as error:  # noqa: BLE001 - raised below, unless another way works
        # Without them, some models look for a mask and positions in numbers that are not there.
        try:
            return _read(model, token, **places)
        except Exception:  # noqa: BLE001 - the first error says more
            raise _unsupported(model.config, error) from error


@torch.inference_mode()
def _read(model: PreTrainedModel, token: Tensor, **places: Tensor) -> DynamicCache:
    cache = DynamicCache()  # it keeps all tokens, whatever kinds of layers there are
    model(input_ids=token, past_key_values=cache, use_cache=True, **places)
    return cache


def _unsupported(config: PreTrainedConfig, error: Exception) -> UnsupportedModelError:
    name = config.name_or_path or config.model_type
    return UnsupportedModelError(
        f"What {name} ({config.model_type}) needs cannot be found out from its config: "
        f"{type(error).__name__}: {error} If it runs, engine.limits says how many tokens fit."
    )
