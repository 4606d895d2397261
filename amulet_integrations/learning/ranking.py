"""Which of several preferences fits the answers that a user accepted and rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from amulet_integrations.decoding.guidance import DEFAULT_MAX_GUIDANCE_SCALE
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.learning.candidates import (
    Candidate,
    log_priors_of,
    read_candidates,
)
from amulet_integrations.learning.checks import (
    DEFAULT_MIN_EXAMPLES,
    DEFAULT_MIN_TOKENS,
    check_count,
    check_enough,
    check_examples,
    check_number,
    check_scales,
    check_temperature,
    check_tokens,
)
from amulet_integrations.learning.evidence import Evidence
from amulet_integrations.learning.example import ExampleLike
from amulet_integrations.learning.rewards import Rewards
from amulet_integrations.learning.spline import FEWEST_KNOTS
from amulet_integrations.learning.tokens import AnswerReader
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import FrozenModel

DEFAULT_SCALES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0)
DEFAULT_LEAST_ODDS = 3.0
"""Where Kass and Raftery (JASA, 1995) let "positive" evidence begin."""

_POINTS = 201  # of the grid that the strength is integrated out on
_SLIP = 0.01  # the share of tokens that the base writes
_LAPSE = 0.05  # the share of choices that are made blindly
_RESAMPLES = 200


class RankedPreference(FrozenModel):
    """A candidate and what the examples say for it.

    Attributes:
        preference: The candidate; None is that there is no preference.
        number: Its place among the candidates as they were given, from 0.
        probability: Its posterior probability.
        log_evidence: The log-likelihood of the examples under it, its strength integrated out, in
            nats.
        guidance_scale: The scale under which the examples are likeliest; None where that is the
            weakest or the strongest one looked at, or where there is no preference to scale.
    """

    preference: Preference | None
    number: int
    probability: float
    log_evidence: float
    guidance_scale: float | None


class PreferenceRanking(FrozenModel):
    """Candidates, the most probable first.

    Attributes:
        ranked: The candidates.
        entropy: Of their probabilities, in bits: 0 where one is certain.
        tokens: How many tokens of answers were read.
        examples: How many examples.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    ranked: tuple[RankedPreference, ...] = Field(min_length=1)
    entropy: float
    tokens: int
    examples: int

    @property
    def best(self) -> RankedPreference:
        """The most probable one."""
        return self.ranked[0]


def rank_preferences(
    engine: Engine,
    candidates: Sequence[str | Preference | None],
    examples: Iterable[ExampleLike],
    *,
    guidance_scales: Sequence[float] = DEFAULT_SCALES,
    priors: Sequence[float] | None = None,
    temperature: float = 1.0,
    max_kl: MaxKL = "default",
    min_tokens: int = DEFAULT_MIN_TOKENS,
    min_examples: int = DEFAULT_MIN_EXAMPLES,
    least_odds: float = DEFAULT_LEAST_ODDS,
    max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
    separator: str = DEFAULT_SEPARATOR,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> PreferenceRanking:
    """Ranks candidate preferences by how well they explain answers.

    With P the probability of an answer under a candidate k at the guidance scale g, an example
    with only an accepted answer a counts as log P(a): the user wrote it, or would have. With both,
    it is a choice between two answers that somebody else wrote, so only the choice counts, by
    Bradley and Terry: sigmoid(r(a) - r(b)), where r = log P - log P_base is the implicit reward of
    direct preference optimisation (Rafailov et al., NeurIPS 2023), with its beta at 1. With only a
    rejected answer b it is sigmoid(-r(b)).

    The strength g is one for all examples, unknown, and integrated out with a uniform prior over
    the range of `guidance_scales`; a spline gives the rewards between them. P is bounded as it is
    where answers are decoded, so strong scales come to much the same. Three things keep a
    single odd token, choice or example from deciding all: slips of 1 % of the tokens (see
    `estimate_strength`), blind choices of 5 %, and posteriors averaged over 200 resamples of the
    examples.

    Args:
        engine: The engine of the model that answers the user.
        candidates: Texts, preferences (their weights count, their conditions do not), or None for
            having no preference; at least two, all different.
        examples: What the user accepted and rejected, each as for `estimate_strength`.
        guidance_scales: Where the likelihood is worked out, at least 4, from 0 up,
            rising.
        priors: How probable each candidate is beforehand, above 0 and up to a common factor; all
            alike by default.
        temperature: The temperature that answers were sampled with, at least 0.01.
        max_kl: The bound that answers are decoded under, in nats; None for none. By default that
            of the preset "default", which holds at scales above 1.
        min_tokens: Fewest tokens of answers.
        min_examples: Fewest examples.
        least_odds: How many times as probable as the second the first has to be, above 1.
        max_guidance_scale: The largest guidance scale.
        separator: Stands between the system message and a preference.
        chat_template_kwargs: Further variables of the model's chat template.

    Returns:
        The ranking.

    Raises:
        EvidenceError: Too few examples or tokens, an example twice, or candidates that the
            answers do not tell apart.
        InvalidParamsError: A setting is out of its range or of another type, candidates are too
            few or the same, or priors do not fit them.
        InvalidProfileError: A candidate's text is none.
        GuidanceScaleError: `guidance_scales` go past `max_guidance_scale`.
        ContextLengthError: An example is too long; the message has its number.
        PromptError: An example cannot be written as a prompt.
    """
    temperature = check_temperature(temperature)
    least_odds = check_number("least_odds", least_odds, 1.0)
    max_guidance_scale = check_number("max_guidance_scale", max_guidance_scale, 0.0)
    max_kl = Strength(max_kl=max_kl).bound
    check_count("min_tokens", min_tokens, 1)
    check_count("min_examples", min_examples, 1)
    scales = check_scales("guidance_scales", guidance_scales, FEWEST_KNOTS, max_guidance_scale)
    read = read_candidates(candidates)
    log_priors = log_priors_of(priors, len(read))
    given = check_examples(examples)
    texts = [candidate.text for candidate in read if candidate is not None]
    reader = AnswerReader(engine, separator, chat_template_kwargs)
    answers = [reader.answers(number, example, texts) for number, example in enumerate(given)]
    if not answers:
        raise EvidenceError(
            "There are no examples. Give answers that the user took or turned down."
        )
    tokens = sum(len(answer.ids) for pair in answers for answer in pair if answer)
    check_tokens(tokens, sum(answer is not None for pair in answers for answer in pair), min_tokens)
    check_enough(len(answers), min_examples, "examples")
    grid = np.linspace(scales[0], scales[-1], _POINTS)
    rewards = Rewards(engine, read, scales, grid, temperature, max_kl, slip=_SLIP, lapse=_LAPSE)
    evidence = Evidence(grid, np.array([rewards.of(*pair) for pair in answers]))
    probabilities = evidence.probabilities(log_priors, _RESAMPLES)
    ranked = _ranked(read, evidence, probabilities)
    _check_told_apart(ranked, least_odds, len(answers), tokens)
    return PreferenceRanking(
        ranked=ranked, entropy=_bits(probabilities), tokens=tokens, examples=len(answers)
    )


def _ranked(
    candidates: Sequence[Candidate], evidence: Evidence, probabilities: Any
) -> tuple[RankedPreference, ...]:
    rows = zip(
        candidates,
        probabilities.tolist(),
        evidence.log_evidence().tolist(),
        evidence.likeliest_scales(),
        strict=True,
    )
    found = [
        RankedPreference(
            preference=candidate,
            number=number,
            probability=probability,
            log_evidence=log_evidence,
            guidance_scale=None if candidate is None else scale,
        )
        for number, (candidate, probability, log_evidence, scale) in enumerate(rows)
    ]
    return tuple(sorted(found, key=lambda it: (it.probability, it.log_evidence), reverse=True))


def _check_told_apart(
    ranked: Sequence[RankedPreference], least_odds: float, examples: int, tokens: int
) -> None:
    """Refuses a ranking whose first is hardly ahead."""
    first, second = ranked[:2]
    if first.probability >= least_odds * second.probability:
        return
    lead = first.log_evidence - second.log_evidence
    raise EvidenceError(
        f"{examples} examples of {tokens} tokens do not tell the candidates apart: "
        f"candidates[{first.number}] has probability {first.probability:.2f} and "
        f"candidates[{second.number}] {second.probability:.2f}, with {lead:.1f} nats more of log "
        f"evidence; least_odds={least_odds:g}. Give more examples, or leave out candidates that "
        "come to the same."
    )


def _bits(probabilities: Any) -> float:
    shares = probabilities[probabilities > 0.0]
    return float(-(shares * np.log2(shares)).sum()) + 0.0
