"""Runs a sweep: an evaluation whose methods are strengths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.strength import MaxKL, Preset, PresetName
from amulet_integrations.engine.encoders.sentence_encoder import has_embedded_encoder
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.evaluation.analysis.frontier import DEFAULT_ALLOWANCE, check_allowance
from amulet_integrations.evaluation.data.named_preferences import read_preferences
from amulet_integrations.evaluation.data.record_types import (
    Preference,
    ProgressCallback,
    Question,
)
from amulet_integrations.evaluation.data.set_ups import SetUp
from amulet_integrations.evaluation.metrics.relevance import RelevanceScorer
from amulet_integrations.evaluation.metrics.scorer import Scorer
from amulet_integrations.evaluation.metrics.text_scores import TextScorer
from amulet_integrations.evaluation.runs.experiment import evaluate

from .asked_questions import as_questions
from .shown_sweep import Sweep
from .swept_strengths import DEFAULT_STRENGTHS, SweptStrength, read_strengths


def sweep(
    model: str | os.PathLike[str] | Engine,
    questions: str | Question | Iterable[str | Question],
    preferences: str | Preference | Iterable[str | Preference],
    strengths: float | PresetName | Preset | Iterable[SweptStrength] = DEFAULT_STRENGTHS,
    *,
    max_kl: MaxKL = "default",
    system: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    dtype: str = "auto",
    scorers: Sequence[Scorer] | None = None,
    allowance: float = DEFAULT_ALLOWANCE,
    progress: ProgressCallback | None = None,
) -> Sweep:
    """Answers the same questions at several strengths, and measures the answers.

    All answers are decoded together. The scores and the recommendation are those of `evaluate`.

    Args:
        model: A checkpoint (hub id, local folder, or "embedded"), or an engine.
        questions: Texts, or questions as `read_questions` reads them from files.
        preferences: Names or texts, each followed on its own; see `read_preferences`.
        strengths: Guidance scales, names of presets, or pairs of a scale and its bound, such as
            ``[1.5, "strong", (4, 0.2)]``. The scales 0 (base) and 1 (pref) are always among them.
        max_kl: The bound of scales and of presets, in nats; None lifts it. By default it is the
            preset's own, and that of the preset "default" for scales outside of 0 to 1.
        system: The system message; by default a neutral one.
        max_new_tokens: The most tokens of an answer; by default 128.
        temperature: 0 takes the most likely token.
        seed: The same seed gives, in float32, the same answers.
        dtype: The dtype in which a checkpoint is loaded.
        scorers: What measures the answers beside the likelihoods. By default `TextScorer` and,
            where its wheel is installed, the embedded `RelevanceScorer`.
        allowance: How far `pref_nll` may rise at the recommended strength, in nats per token.
        progress: Called after each answer, and after each few that are measured.

    Returns:
        The answers with their scores, and the strength that `amulet evaluate` would recommend.

    Raises:
        EvaluationError: Questions, preferences or strengths cannot be used.
        InvalidParamsError: A strength or a bound is out of its range.
        AmuletError: The model cannot be loaded, or fails.
    """
    methods = read_strengths(strengths, max_kl)
    asked = as_questions(questions)
    followed = read_preferences(preferences)
    check_allowance(allowance)
    set_up = SetUp(name="default") if system is None else SetUp(name="own", system=system)
    if max_new_tokens is None:
        max_new_tokens = set_up.max_new_tokens
    SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature)  # refused early
    evaluation = evaluate(
        model,
        asked,
        followed,
        methods,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        dtype=dtype,
        set_up=set_up,
        scorers=_default_scorers() if scorers is None else scorers,
        progress=progress,
    )
    return Sweep(evaluation, allowance)


def _default_scorers() -> list[Scorer]:
    scorers: list[Scorer] = [TextScorer()]
    if has_embedded_encoder():
        scorers.append(RelevanceScorer.from_pretrained())
    return scorers
