"""Scores answers by a reward model, a second model that was trained on human preferences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llama import modeling_llama

from amulet_integrations.engine.backends.transformers.loading.hub_reach import as_reachable
from amulet_integrations.engine.backends.transformers.loading.loader import find_device
from amulet_integrations.engine.backends.transformers.loading.loading_bars import only_watched_bars
from amulet_integrations.engine.backends.transformers.loading.missing_files import loading_error
from amulet_integrations.engine.backends.transformers.loading.weight_files import check_no_pickles
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import EvaluationError, UnsupportedModelError
from amulet_integrations.evaluation.data.record_types import Answer, Preference, describe_answer

from .builtin_scores import BUILTIN_SCORES, REWARD
from .reward_prompts import RewardInput, RewardPrompts
from .scorer import model_label

ARMORM = "RLHFlow/ArmoRM-Llama3-8B-v0.1"
"""The paper's reward model. It comes with code of its own: pass trust_remote_code=True."""

INSTRUCTION_FOLLOWING = 6
"""The column of ArmoRM's `rewards` for how well instructions are followed (UltraFeedback's)."""

DEFAULT_BATCH_SIZE = 8

_AUTO_CLASS = "AutoModelForSequenceClassification"
_REMOVED = "LLAMA_INPUTS_DOCSTRING"


class RewardModelScorer:
    """The reward of an answer to the question and the preference together.

    The user turn contains the question, a space and the text of the preference, as in the paper.
    The assistant turn contains the whole answer; nothing is truncated. If a model has several
    rewards (an output `rewards`, as ArmoRM has), the score is the one at `index`. Otherwise it is
    the model's one logit.

    Args:
        model: A sequence-classification model, in eval mode.
        tokenizer: The tokenizer of the model. Without a chat template, question and answer are
            read as a pair of texts.
        name: The name of the model.
        index: Which of several rewards is the score; 6 by default, which is ArmoRM's instruction
            following.
        batch_size: How many answers are read together. It changes rewards only by rounding.
        score: The name of the score. A run with two reward models needs another name for the
            second, such as "reward_skywork".

    Attributes:
        name: The score and everything that changes it: the model, its commit if it is from the
            hub, its dtype, the form of the prompt, and the index of the reward.

    Raises:
        EvaluationError: The head of the model has no such reward, which is tried at once; or
            another score of this package has the name `score`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
        index: int | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        score: str = REWARD,
    ) -> None:
        if batch_size < 1:
            raise EvaluationError(f"batch_size={batch_size}: give 1 or more.")
        if not score.strip() or (score != REWARD and score in BUILTIN_SCORES):
            raise EvaluationError(
                f"score={score!r}: give a name that no other score has, such as 'reward_2'."
            )
        self.score_names = (score,)
        self._model = model
        self._prompts = RewardPrompts(tokenizer)
        self._model_name = name or model.config.name_or_path or type(model).__name__
        self._index = index
        self._batch_size = batch_size
        config = model.config.get_text_config()
        self._window: int | None = getattr(config, "max_position_embeddings", None)
        pad = config.pad_token_id
        # Heads find the end of an answer by the padding token of the config, not the tokenizer's.
        self._pad: int | None = pad if pad is not None and pad >= 0 else None
        label = model_label(self._model_name, model)
        index = run_on_worker(self._try_head)
        column = "" if index is None else f" [{index}]"
        self.name: str = f"{score} {label} {self._prompts.form}{column}"

    @classmethod
    def from_pretrained(
        cls,
        model: str = ARMORM,
        *,
        index: int | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        score: str = REWARD,
    ) -> Self:
        """Loads a reward model, and tries its head.

        Args:
            model: A Hugging Face id or a local folder.
            index: Which of several rewards is the score.
            trust_remote_code: Whether to run code that comes with the model; ArmoRM needs it.
            revision: A commit, branch or tag of the hub.
            dtype: The dtype of the model; "auto" takes the checkpoint's.
            device: The device of the model; "auto" takes the accelerator, if there is one.
            batch_size: How many answers are read together.
            score: The name of the score.

        Raises:
            ModelError: The model cannot be loaded, or its head was never trained.
            EvaluationError: The head has no such reward.
        """
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        loaded, tokenizer = run_on_worker(_load, model, dtype, device, options)
        return cls(loaded, tokenizer, name=model, index=index, batch_size=batch_size, score=score)

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`.

        Raises:
            EvaluationError: A question and its answer are too long for the model. Then none of
                these answers is scored. A run passes a few answers at a time, so earlier ones are.
        """
        inputs = [
            self._prompts.encode(f"{it.question} {preferences[it.preference].text}", it.text)
            for it in answers
        ]
        for answer, one in zip(answers, inputs, strict=True):
            self._check_length(answer, one)
        rewards: dict[int, float] = {}
        for places in self._batches(inputs):
            column, _ = run_on_worker(self._rewards, [inputs[place] for place in places])
            rewards.update(zip(places, column.tolist(), strict=True))
        (score,) = self.score_names
        return [{score: rewards[place]} for place in range(len(inputs))]

    def _check_length(self, answer: Answer, one: RewardInput) -> None:
        if self._window is None or len(one.ids) <= self._window:
            return
        raise EvaluationError(
            f"{self._model_name} reads {self._window} tokens, and {describe_answer(answer)} has "
            f"{len(one.ids)} with its question. An output folder keeps its answers: the same run "
            "goes on there without this reward model, or with one that reads more. Otherwise start "
            "anew with shorter answers (max_new_tokens), or without the question."
        )

    def _try_head(self) -> int | None:
        """Scores one answer, and returns which of several rewards is used."""
        column, index = self._rewards([self._prompts.encode("Is the sky blue?", "Yes.")])
        if not math.isfinite(reward := column.item()):
            raise EvaluationError(
                f"{self._model_name} gives a short answer the reward {reward} in "
                f"{str(self._model.dtype).removeprefix('torch.')}. Load it in another type, such "
                'as dtype="float32", or use another reward model.'
            )
        return index

    def _batches(self, inputs: Sequence[RewardInput]) -> Iterator[list[int]]:
        """Yields the places of the inputs of each batch. Inputs of like length are together."""
        size = 1 if self._pad is None else self._batch_size
        places = sorted(range(len(inputs)), key=lambda place: len(inputs[place].ids))
        for start in range(0, len(places), size):
            yield places[start : start + size]

    @torch.inference_mode()
    def _rewards(self, inputs: Sequence[RewardInput]) -> tuple[Tensor, int | None]:
        """Reads a batch of inputs.

        Returns:
            The reward of each answer, in float32; and which of several rewards it is, or None.

        Raises:
            EvaluationError: There is no such reward.
        """
        batch = {
            "input_ids": _padded([it.ids for it in inputs], self._pad or 0),
            "attention_mask": _padded([[1] * len(it.ids) for it in inputs], 0),
        }
        if types := [it.type_ids for it in inputs if it.type_ids is not None]:
            batch["token_type_ids"] = _padded(types, 0)
        device, rows, name = self._model.device, len(inputs), self._model_name
        output = self._model(**{key: tensor.to(device) for key, tensor in batch.items()})
        chosen = self._index
        rewards = getattr(output, "rewards", None)
        if rewards is None:
            rewards = getattr(output, "logits", None)
        elif chosen is None:
            chosen = INSTRUCTION_FOLLOWING
        if rewards is None or rewards.dim() != 2 or len(rewards) != rows:  # noqa: PLR2004
            shape = "nothing" if rewards is None else f"shape {tuple(rewards.shape)}"
            raise EvaluationError(
                f"{name} is no reward model: for {rows} answers its head gave {shape}, and "
                f"({rows}, rewards) is needed. Use a sequence-classification model that was "
                "trained to give rewards."
            )
        width = rewards.shape[1]
        if chosen is None and width == 1:
            chosen = 0
        if chosen is None or not 0 <= chosen < width:
            raise EvaluationError(
                f"{name} gives {width} values for each answer, and index={chosen} has to name the "
                f"reward among them. Give an index from 0 to {width - 1}, or use a model with a "
                "single one."
            )
        return rewards[:, chosen].float(), chosen if width > 1 else None


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Pads rows on the right: padding on the left would change the positions of tokens."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


@only_watched_bars()
def _load(
    name: str, dtype: str, device: str, options: dict[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a sequence-classification model in eval mode.

    Args:
        name: A Hugging Face id or a local folder.
        dtype: The dtype of the model.
        device: The device of the model.
        options: Where to load from: `revision` and `trust_remote_code`.

    Raises:
        ModelNotFoundError: The model cannot be loaded.
        UnsupportedModelError: The model needs code of its own, its weights are pickles, or its
            head was never trained.
    """
    what = f"The reward model {name!r}"
    check_no_pickles(what, name)
    give = "Give a Hugging Face id or a local folder of a sequence-classification model."
    source = ModelSource(name, revision=options["revision"])
    reachable = as_reachable(what, source, give=give)
    options = {**options, "local_files_only": reachable.local_files_only}
    try:
        config = AutoConfig.from_pretrained(name, **options)
        # transformers may know its base model, and would load that with a random head.
        own_classes = getattr(config, "auto_map", None) or {}
        if _AUTO_CLASS in own_classes and not options["trust_remote_code"]:
            raise ValueError("trust_remote_code is False")  # noqa: TRY301 - reported below
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        # ArmoRM's own code imports this name, and transformers 5 no longer has it.
        setattr(modeling_llama, _REMOVED, "")
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
            )
        finally:
            delattr(modeling_llama, _REMOVED)
        model.to(find_device(device))
    except Exception as error:  # a damaged file or the model's own code may raise anything
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"The reward model {name!r} comes with code of its own. Pass "
                "trust_remote_code=True if you have read that code and trust it."
            ) from error
        raise loading_error(what, source, error, give) from error
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModelError(
            f"The reward model {name!r} lacks weights ({', '.join(missing[:3])}), so its rewards "
            "would be random. Use a checkpoint that was trained to give rewards."
        )
    return model.eval(), tokenizer
