"""Refuses checkpoints that do not fill the model of their config, or do not fit their tokenizer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.errors import UnsupportedModelError

_NAMED = 3  # weights of a message
_REMEDY = (
    "Its config.json and its weights do not belong together, or a part of the weights is lost. "
    "Download or save the checkpoint again."
)


class LoadingInfo(TypedDict):
    """What transformers reports with `output_loading_info=True`.

    Tied weights and buffers that are computed are not among the missing keys.
    """

    missing_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, tuple[int, ...], tuple[int, ...]]]


def check_weights(what: str, info: LoadingInfo, unused: tuple[str, ...] = ()) -> None:
    """Refuses a model of which transformers has filled a part with random numbers.

    Args:
        what: The model, for the message, such as "model='x'".
        info: What transformers reports.
        unused: How the names of weights begin that are never read.

    Raises:
        UnsupportedModelError: Weights are missing, or have other shapes than the config says.
    """
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused))
    if missing:
        raise UnsupportedModelError(
            f"{what} lacks {len(missing)} weights that its config asks for, such as "
            f"{', '.join(missing[:_NAMED])}. {_REMEDY}"
        )
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, stored, expected = mismatched[0]
        raise UnsupportedModelError(
            f"{what} has {len(mismatched)} weights of other shapes than its config asks for, such "
            f"as {name}: {tuple(stored)} in place of {tuple(expected)}. {_REMEDY}"
        )


def check_vocabulary(what: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a model whose tokenizer is of another one; see `check_tokenizer`."""
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if isinstance(rows, int):
        check_tokenizer(what, rows, tokenizer)


def check_tokenizer(what: str, rows: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer whose ordinary tokens, or whose first or last token, have no embedding.

    Other added tokens may have none, as those for images in text models: the engine refuses the
    requests that contain them.

    Args:
        what: The model, for the message.
        rows: How many tokens the model embeds.
        tokenizer: The checkpoint's tokenizer.

    Raises:
        UnsupportedModelError: The tokenizer is of another model.
    """
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    highest = max(tokenizer.vocab_size - 1, *(token for token in ends if token is not None), 0)
    if highest >= rows:
        raise UnsupportedModelError(
            f"{what} embeds {rows} tokens, and its tokenizer has the token {highest}. The "
            "tokenizer is of another model, or of one whose embeddings were resized later. Save "
            "the two together again."
        )
