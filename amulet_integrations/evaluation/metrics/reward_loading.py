"""Reward models from checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llama import modeling_llama

from amulet_integrations.engine.backends.transformers.loader import find_device
from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError

_AUTO_CLASS = "AutoModelForSequenceClassification"
_REMOVED = "LLAMA_INPUTS_DOCSTRING"


def load_reward_model(
    name: str,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a sequence-classification model, in eval mode and on its device.

    Raises:
        ModelNotFoundError: It cannot be loaded.
        UnsupportedModelError: It needs code of its own, or its head was never trained.
    """
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _config(name, options)
    # transformers may know the rest of such a model, and would load that with a random head.
    if not trust_remote_code and _AUTO_CLASS in (getattr(config, "auto_map", None) or {}):
        raise _own_code_error(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        with _removed_names():
            model, told = AutoModelForSequenceClassification.from_pretrained(
                name, dtype=dtype, output_loading_info=True, **options
            )
        model.to(find_device(device))
    except Exception as error:  # a damaged file or the model's own code may raise anything
        raise _loading_error(name, error) from error
    if missing := sorted(told["missing_keys"]):
        raise UnsupportedModelError(
            f"The reward model {name!r} lacks weights ({', '.join(missing[:3])}), so its rewards "
            "would be random. Use a checkpoint that was trained to give rewards."
        )
    return model.eval(), tokenizer


@contextmanager
def _removed_names() -> Iterator[None]:
    """Lends a name to ArmoRM's own code, which imports a text that transformers 5 has no more."""
    if hasattr(modeling_llama, _REMOVED):
        yield
        return
    setattr(modeling_llama, _REMOVED, "")
    try:
        yield
    finally:
        delattr(modeling_llama, _REMOVED)


def _config(name: str, options: dict[str, Any]) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(name, **options)
    except Exception as error:  # a damaged file may raise anything
        raise _loading_error(name, error) from error
    return config


def _loading_error(name: str, error: Exception) -> Exception:
    if "trust_remote_code" in str(error):
        return _own_code_error(name)
    reason = " ".join(str(error).split())
    return ModelNotFoundError(
        f"The reward model {name!r} cannot be loaded. Give a Hugging Face id or a local folder of "
        f"a sequence-classification model. What transformers says: {reason}"
    )


def _own_code_error(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The reward model {name!r} comes with code of its own. Pass trust_remote_code=True if you "
        "have read that code and trust it."
    )
