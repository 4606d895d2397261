"""Loads reward models from checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llama import modeling_llama

from amulet_integrations.engine.backends.transformers.loader import find_device
from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError
from amulet_integrations.terminal_text import one_line

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
    """Loads a sequence-classification model in eval mode.

    Raises:
        ModelNotFoundError: The model cannot be loaded.
        UnsupportedModelError: The model needs code of its own, or its head was never trained.
    """
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **options)
        # transformers may know its base model, and would load that with a random head.
        if _AUTO_CLASS in (getattr(config, "auto_map", None) or {}) and not trust_remote_code:
            raise ValueError("trust_remote_code is False")  # noqa: TRY301 - reported below
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        with _removed_names():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name, dtype=dtype, output_loading_info=True, **options
            )
        model.to(find_device(device))
    except Exception as error:  # a damaged file or the model's own code may raise anything
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"The reward model {name!r} comes with code of its own. Pass "
                "trust_remote_code=True if you have read that code and trust it."
            ) from error
        raise ModelNotFoundError(
            f"The reward model {name!r} cannot be loaded. Give a Hugging Face id or a local folder "
            "of a sequence-classification model. What transformers says: "
            f"{one_line(error)}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModelError(
            f"The reward model {name!r} lacks weights ({', '.join(missing[:3])}), so its rewards "
            "would be random. Use a checkpoint that was trained to give rewards."
        )
    return model.eval(), tokenizer


@contextmanager
def _removed_names() -> Iterator[None]:
    """Provides a name that ArmoRM's own code imports and that transformers 5 no longer has."""
    if hasattr(modeling_llama, _REMOVED):
        yield
        return
    setattr(modeling_llama, _REMOVED, "")
    try:
        yield
    finally:
        delattr(modeling_llama, _REMOVED)
