"""Scores by a reward model, a second model that was trained on what people like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.records import Answer, Preference
from amulet_integrations.evaluation.reward_loading import load_reward_model
from amulet_integrations.evaluation.reward_prompts import RewardPrompts, Row
from amulet_integrations.evaluation.score_notes import REWARD

ARMORM = "RLHFlow/ArmoRM-Llama3-8B-v0.1"
"""The paper's reward model. It comes with code of its own: pass trust_remote_code=True."""

INSTRUCTION_FOLLOWING = 6
"""Where ArmoRM's `rewards` have how well instructions are followed (UltraFeedback's)."""

DEFAULT_BATCH_SIZE = 8


class RewardModelScorer:
    """The reward of an answer to the question and the preference together.

    The user turn holds the question, a space and the preference's text, as in the paper; the
    answer is the assistant's turn. Models with several rewards (an output `rewards`, as ArmoRM
    has) give the one of `index`, others their one logit. Answers are whole: nothing is cut off.

    Args:
        model: A sequence-classification model, in eval mode.
        tokenizer: Its tokenizer. Without a chat template, the question and the answer are read as
            a pair of texts.
        name: What the model is called.
        index: Which of several rewards counts; 6 by default, ArmoRM's instruction following.
        batch_size: How many answers are read together. Company changes no reward but by rounding.

    Raises:
        EvaluationError: The model's head gives no such reward; that is tried at once.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
        index: int | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        if batch_size < 1:
            raise EvaluationError(f"batch_size={batch_size}: give 1 or more.")
        self._model = model
        self._prompts = RewardPrompts(tokenizer)
        self._model_name = name or model.config.name_or_path or type(model).__name__
        self._index = index
        self._batch_size = batch_size
        config = model.config.get_text_config()
        self._window: int | None = getattr(config, "max_position_embeddings", None)
        pad = config.pad_token_id
        # Heads find the end of an answer by the config's padding token, whatever the tokenizer's.
        self._pad: int | None = pad if pad is not None and pad >= 0 else None
        self._rewards([self._prompts.row("Is the sky blue?", "Yes.")])

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
    ) -> Self:
        """Loads a reward model, and tries its head.

        Args:
            model: A Hugging Face id or a local folder.
            index: Which of several rewards counts.
            trust_remote_code: Whether to run code that comes with the model; ArmoRM needs it.
            revision: Which commit, branch or tag of the hub.
            dtype: What to load it in; "auto" takes the checkpoint's.
            device: Where to put it; "auto" takes the accelerator, if there is one.
            batch_size: How many answers are read together.

        Raises:
            ModelError: The model cannot be loaded, or has no trained head.
            EvaluationError: Its head does not fit.
        """
        loaded, tokenizer = run_on_worker(
            lambda: load_reward_model(
                model,
                trust_remote_code=trust_remote_code,
                revision=revision,
                dtype=dtype,
                device=device,
            )
        )
        return cls(loaded, tokenizer, name=model, index=index, batch_size=batch_size)

    @property
    def name(self) -> str:
        """The model's name, and which of its rewards."""
        chosen = "" if self._index is None else f"[{self._index}]"
        return f"{REWARD}:{self._model_name}{chosen}"

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`.

        Raises:
            EvaluationError: A question and its answer are longer than the model can read; that is
                found out before any is scored.
        """
        rows = [
            self._prompts.row(f"{a.question} {preferences[a.preference].text}", a.text)
            for a in answers
        ]
        for answer, row in zip(answers, rows, strict=True):
            if self._window is not None and len(row.ids) > self._window:
                raise EvaluationError(
                    f"Question {answer.index} of {answer.data_set!r} and its answer by "
                    f"{answer.method!r} have {len(row.ids)} tokens, and {self._model_name} reads "
                    f"{self._window}. Leave the question out, or take shorter answers."
                )
        rewards: dict[int, float] = {}
        for places in self._batches(rows):
            said = self._rewards([rows[place] for place in places])
            rewards.update(zip(places, said, strict=True))
        return [{REWARD: rewards[place]} for place in range(len(rows))]

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The rows' places, those of like length together."""
        size = 1 if self._pad is None else self._batch_size
        places = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
        for start in range(0, len(places), size):
            yield places[start : start + size]

    def _rewards(self, rows: Sequence[Row]) -> list[float]:
        return run_on_worker(self._run, rows)

    @torch.inference_mode()
    def _run(self, rows: Sequence[Row]) -> list[float]:
        batch = {
            "input_ids": _padded([row.ids for row in rows], self._pad or 0),
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], 0),
        }
        types = [row.type_ids for row in rows if row.type_ids is not None]
        if types:
            batch["token_type_ids"] = _padded(types, 0)
        device = self._model.device
        output = self._model(**{name: rows.to(device) for name, rows in batch.items()})
        return [float(value) for value in self._column(output, len(rows)).float()]

    def _column(self, output: Any, rows: int) -> torch.Tensor:
        """The reward that counts, one of each row."""
        rewards = getattr(output, "rewards", None)
        index = self._index
        if rewards is not None:
            index = INSTRUCTION_FOLLOWING if index is None else index
        else:
            rewards = getattr(output, "logits", None)
        if rewards is None or rewards.dim() != 2 or len(rewards) != rows:  # noqa: PLR2004
            shape = "nothing" if rewards is None else f"shape {tuple(rewards.shape)}"
            raise EvaluationError(
                f"{self._model_name} is no reward model: for {rows} answers its head gave {shape}, "
                f"and ({rows}, rewards) is needed. Use a sequence-classification model that was "
                "trained to give rewards."
            )
        width = rewards.shape[1]
        if index is None and width == 1:
            index = 0
        if index is None or not 0 <= index < width:
            raise EvaluationError(
                f"{self._model_name} gives {width} values for each answer, and index={index} says "
                f"which of them is the reward. Give an index from 0 to {width - 1}, or use a model "
                "with a single one."
            )
        column: torch.Tensor = rewards[:, index]
        return column


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Padding goes to the right: left of an answer it would change the positions of its tokens."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
