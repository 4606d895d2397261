"""Float32 activations between half-precision weights, for processors without half arithmetic.

Such a processor takes longer for attention and norms in bfloat16 or float16 than in float32. Its
kernel for products with half-precision weights works in float32 anyway, so every conversion between
two products costs time. Rounding less often also brings the logits closer to those of float32.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_MAX_CONVERTED = 0.02  # of the weights: those of norms, and biases


@torch.no_grad()
def use_float32_activations(model: PreTrainedModel, linear: Iterable[nn.Linear]) -> bool:
    """Makes a model compute in float32 all but the products with its large weights.

    Args:
        model: A model on the CPU.
        linear: The layers that accept inputs of any dtype and return outputs of the same dtype.

    Returns:
        Whether it was done. It is not if other large weights would have to be converted, or if the
        model's own code multiplies weights of one dtype by inputs of another.
    """
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    large = {id(layer.weight) for layer in (*linear, *embeddings)}
    others = [
        tensor
        for tensor in (*model.parameters(), *model.buffers())
        if id(tensor) not in large and tensor.is_floating_point()
    ]
    all_weights = sum(weight.numel() for weight in model.parameters())
    if sum(tensor.numel() for tensor in others) > _MAX_CONVERTED * all_weights:
        return False
    dtypes = [tensor.dtype for tensor in others]
    for tensor in others:
        tensor.data = tensor.data.float()
    hooks = [embedding.register_forward_hook(_to_float32) for embedding in embeddings]
    if _runs(model):
        return True
    for tensor, dtype in zip(others, dtypes, strict=True):
        tensor.data = tensor.data.to(dtype)
    for hook in hooks:
        hook.remove()
    return False


def activation_dtype(model: PreTrainedModel) -> torch.dtype:
    """Returns the dtype of the values between a model's layers, and of its keys and values."""
    hooks = model.get_input_embeddings()._forward_hooks.values()  # noqa: SLF001
    return torch.float32 if _to_float32 in hooks else model.dtype


def _runs(model: PreTrainedModel) -> bool:
    try:
        model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False)
    except RuntimeError:
        return False
    return True


def _to_float32(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()
