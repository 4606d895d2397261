"""Scores by a reward model, a second model that was trained on what people like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.metrics.builtin_scores import OWN_NAMES
from amulet_integrations.evaluation.metrics.reward_heads import REWARD, reward_column
from amulet_integrations.evaluation.metrics.reward_loading import load_reward_model
from amulet_integrations.evaluation.metrics.reward_prompts import RewardPrompts, Row
from amulet_integrations.evaluation.metrics.scorer import place_of
from amulet_integrations.evaluation.runs.records import Answer, Preference

ARMORM = "RLHFlow/ArmoRM-Llama3-8B-v0.1"
"""The paper's reward model. It comes with code of its own: pass trust_remote_code=True."""

DEFAULT_BATCH_SIZE = 8
_SHOWN = 12  # of a commit's 40 digits


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
        score: What the score is called. A run with two reward models needs another name for the
            second, such as "reward_skywork".

    Attributes:
        name: The score, and everything that changes it: the model, its commit where it is from
            the hub, its type, how the prompt is put, and which of its rewards.

    Raises:
        EvaluationError: The model's head gives no such reward, which is tried at once; or the
            score has the name of another one of this package's.
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
        if not score.strip() or (score != REWARD and score in OWN_NAMES):
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
        # Heads find the end of an answer by the config's padding token, whatever the tokenizer's.
        self._pad: int | None = pad if pad is not None and pad >= 0 else None
        self.name = self._identity(score, run_on_worker(self._try))

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
            index: Which of several rewards counts.
            trust_remote_code: Whether to run code that comes with the model; ArmoRM needs it.
            revision: Which commit, branch or tag of the hub.
            dtype: What to load it in; "auto" takes the checkpoint's.
            device: Where to put it; "auto" takes the accelerator, if there is one.
            batch_size: How many answers are read together.
            score: What the score is called.

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
        return cls(loaded, tokenizer, name=model, index=index, batch_size=batch_size, score=score)

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`.

        Raises:
            EvaluationError: A question and its answer are longer than the model can read. None of
                the answers given is scored then; those of earlier calls are, and a run calls for
                a few answers at a time.
        """
        rows = [
            self._prompts.row(f"{a.question} {preferences[a.preference].text}", a.text)
            for a in answers
        ]
        for answer, row in zip(answers, rows, strict=True):
            self._check_length(answer, row)
        rewards: dict[int, float] = {}
        for places in self._batches(rows):
            said = self._rewards([rows[place] for place in places])
            rewards.update(zip(places, said, strict=True))
        (score,) = self.score_names
        return [{score: rewards[place]} for place in range(len(rows))]

    def _check_length(self, answer: Answer, row: Row) -> None:
        if self._window is None or len(row.ids) <= self._window:
            return
        raise EvaluationError(
            f"{self._model_name} reads {self._window} tokens, and {place_of(answer)} has "
            f"{len(row.ids)} with its question. An output folder keeps its answers: the same run "
            "goes on there without this reward model, or with one that reads more. Otherwise start "
            "anew with shorter answers (max_new_tokens), or without the question."
        )

    def _try(self) -> int | None:
        """Scores one answer, and finds out which of several rewards counts."""
        output = self._output([self._prompts.row("Is the sky blue?", "Yes.")])
        column, index = reward_column(output, 1, self._index, self._model_name)
        if not math.isfinite(reward := column.item()):
            raise EvaluationError(
                f"{self._model_name} gives a short answer the reward {reward} in "
                f"{_name_of(self._model.dtype)}. Load it in another type, such as "
                'dtype="float32", or use another reward model.'
            )
        return index

    def _identity(self, score: str, index: int | None) -> str:
        commit = getattr(self._model.config, "_commit_hash", None)
        model = f"{self._model_name}@{commit[:_SHOWN]}" if commit else self._model_name
        chosen = [] if index is None else [f"[{index}]"]
        return " ".join([score, model, _name_of(self._model.dtype), self._prompts.form, *chosen])

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The rows' places, those of like length together."""
        size = 1 if self._pad is None else self._batch_size
        places = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
        for start in range(0, len(places), size):
            yield places[start : start + size]

    def _rewards(self, rows: Sequence[Row]) -> list[float]:
        return run_on_worker(self._run, rows)

    def _run(self, rows: Sequence[Row]) -> list[float]:
        output = self._output(rows)
        column, _ = reward_column(output, len(rows), self._index, self._model_name)
        return [float(value) for value in column.float()]

    @torch.inference_mode()
    def _output(self, rows: Sequence[Row]) -> Any:
        batch = {
            "input_ids": _padded([row.ids for row in rows], self._pad or 0),
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], 0),
        }
        types = [row.type_ids for row in rows if row.type_ids is not None]
        if types:
            batch["token_type_ids"] = _padded(types, 0)
        device = self._model.device
        return self._model(**{name: rows.to(device) for name, rows in batch.items()})


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Padding goes to the right: left of an answer it would change the positions of its tokens."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
