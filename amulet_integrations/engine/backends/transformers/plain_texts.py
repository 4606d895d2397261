"""What plain transformers computes for a few texts: one at a time, and without a cache."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from amulet_integrations.engine.kv.memory_use import is_out_of_memory

from .masks import row_masks
from .model_info import (
    context_window,
    model_name,
    special_token_ids,
    takes_argument,
    vocabulary_sizes,
)

logger = logging.getLogger(__name__)

COMPLETION_TOKENS = 3  # after each prompt
_PROMPT_TOKENS = (3, 11, 19)  # of the texts that are tried
_PAST_WINDOW = 30  # tokens beyond a window
_AFFORDABLE = {"cpu": 5e10}  # parameters times tokens: some seconds
_AFFORDABLE_ELSEWHERE = 1e13
_SHORT_WINDOW = 300  # tokens of a window that is passed whatever it takes, if no mask says it

_EXACT = (torch.float32, torch.float64)
_EXACT_TOLERANCE = 1e-3  # of the logits' standard deviation
_ROUNDING_STEPS = 8  # of the largest logit, which is off by one or two in reduced precision
_NOISE_FACTOR = 4
_MOST_NOISE = 0.5  # of the standard deviation


@dataclass(frozen=True)
class Text:
    """A text, and what plain transformers computes for it alone, without a cache.

    Attributes:
        prompt: Token ids.
        completion: The tokens after the prompt.
        logits: After the prompt and after each token of the completion, (1 + completion, vocab).
    """

    prompt: Sequence[int]
    completion: Sequence[int]
    logits: Tensor


class TrialError(Exception):
    """What is wrong with a model, or with a way to run it."""


def plain_texts(model: PreTrainedModel) -> list[Text]:
    """Computes three texts of unequal length with plain transformers.

    Where there is a window of attention that is short enough, one text is longer than the window,
    and one becomes so with its completion.
    """
    vocabulary = range(min(vocabulary_sizes(model)))
    ordinary = sorted({*vocabulary[len(vocabulary) // 8 :]} - special_token_ids(model)) or [0]
    numbers = random.Random(0)  # noqa: S311 - the same tokens every time
    most = context_window(model.config)

    def compute(prompt_tokens: int) -> Text:
        count = max(1 + COMPLETION_TOKENS, min(prompt_tokens + COMPLETION_TOKENS, most))
        return _text(model, numbers.choices(ordinary, k=count))

    short, *others = _PROMPT_TOKENS
    with row_masks(None) as requests:
        texts = [compute(short)]
    windows = [size for size in _windows(model, requests.windows) if size < most]
    if windows:
        others = [max(windows), max(windows) + _PAST_WINDOW]
    return [*texts, *map(compute, others)]


def _text(model: PreTrainedModel, ids: Sequence[int]) -> Text:
    """Computes a text in one pass and without a cache."""
    output = model(
        input_ids=torch.tensor([ids], device=model.device),
        use_cache=False,
        return_dict=True,
        **_logits_to_keep(model, 1 + COMPLETION_TOKENS),
    )
    logits = output.logits[0, -1 - COMPLETION_TOKENS :].cpu().double()
    return Text(ids[:-COMPLETION_TOKENS], ids[-COMPLETION_TOKENS:], logits)


def _windows(model: PreTrainedModel, requested: set[int]) -> Iterator[int]:
    """Yields the lengths of windows that are to be passed: those of masks, and the config's."""
    most = _AFFORDABLE.get(model.device.type, _AFFORDABLE_ELSEWHERE) / model.num_parameters()
    yield from (size for size in requested if size <= most)
    # What transformers' masks do not know, the model's own code may use, or nothing.
    for name, value in model.config.get_text_config().to_dict().items():
        named = "window" in name or "chunk" in name
        if named and type(value) is int and 1 < value <= max(most, _SHORT_WINDOW):
            yield value


def check_own_cache(model: PreTrainedModel, text: Text, tolerance: float) -> None:
    """Refuses models that give other logits with a cache: those that see later tokens.

    transformers chooses how much a cache keeps by the config. Where it keeps less than the model's
    code would see, the code is right.
    """
    off = _cached_difference(model, text, DynamicCache(config=model.config))
    if off <= tolerance:
        return
    if _is_right_with(model, text, tolerance, DynamicCache()):
        logger.warning(
            "The config of %s has a sliding window that the model's own code does not use. All "
            "of the past is seen here; model.generate drops it from its cache.",
            model_name(model),
        )
        return
    raise TrialError(
        f"plain transformers computes other logits with its cache than without (by {off:.2g}): it "
        "sees later tokens, as encoders do, or its cache does not hold all that it uses"
    )


def _is_right_with(
    model: PreTrainedModel, text: Text, tolerance: float, cache: DynamicCache
) -> bool:
    try:
        return _cached_difference(model, text, cache) <= tolerance
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False  # a cache of another kind than the model needs


def _cached_difference(model: PreTrainedModel, text: Text, cache: DynamicCache) -> float:
    """Returns how far plain transformers' logits are off if it decodes with a cache."""
    logits = []
    for ids in ([*text.prompt], *([token] for token in text.completion)):
        output = model(
            input_ids=torch.tensor([ids], device=model.device),
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
            **_logits_to_keep(model, 1),
        )
        logits.append(output.logits[0, -1])
    return difference(torch.stack(logits), text.logits)


def _logits_to_keep(model: PreTrainedModel, count: int) -> dict[str, int]:
    return {"logits_to_keep": count} if takes_argument(model, "logits_to_keep") else {}


def tolerated_difference(model: PreTrainedModel, texts: Sequence[Text]) -> float:
    """Returns by how much logits may differ.

    Two ways to compute the same logits round differently. In float32 that makes about 1e-5 of the
    logits' standard deviation, and a wrong token in sight more than all of it. In reduced
    precision, rounding is measured: what padding makes of plain transformers' own logits.
    """
    spread = min(float(_finite(text.logits).std()) for text in texts)
    right = torch.stack([text.logits[0] for text in texts])
    steps = _ROUNDING_STEPS * torch.finfo(model.dtype).eps * float(_finite(right).abs().max())
    least = max(steps, _EXACT_TOLERANCE * spread)
    if model.dtype in _EXACT and torch.get_float32_matmul_precision() == "highest":
        return least
    noise = difference(_padded(model, texts), right)
    return max(least, min(_NOISE_FACTOR * noise, _MOST_NOISE * spread))


def _padded(model: PreTrainedModel, texts: Sequence[Text]) -> Tensor:
    """Returns plain transformers' logits after prompts that are padded on the left."""
    width = max(len(text.prompt) for text in texts)
    padding = [width - len(text.prompt) for text in texts]
    ids = [[0] * length + list(text.prompt) for length, text in zip(padding, texts, strict=True)]
    used = [[0] * length + [1] * (width - length) for length in padding]
    mask = torch.tensor(used, device=model.device)
    positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    logits: Tensor = model(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=mask,
        return_dict=True,
        **_logits_to_keep(model, 1),
        **(positions if takes_argument(model, "position_ids") else {}),
    ).logits
    return logits[:, -1]


def difference(logits: Tensor, right: Tensor) -> float:
    """Returns the largest difference; what is not finite in plain transformers is left out."""
    logits = logits.cpu().double()  # some devices have no float64
    known = right.isfinite()
    return float((logits - right)[known].abs().nan_to_num(torch.inf).max()) if known.any() else 0.0


def _finite(logits: Tensor) -> Tensor:
    return torch.where(logits.isfinite(), logits, 0.0)
