"""Which of several preferences fits the answers that a user accepted and rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from amulet_integrations.decoding.params import DEFAULT_MAX_GUIDANCE_SCALE
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.learning.candidates import (
    Candidate,
    log_priors_of,
    read_candidates,
)
from amulet_integrations.learning.checks import (
    check_count,
    check_examples,
    check_number,
    check_scales,
    check_share,
    check_tokens,
)
from amulet_integrations.learning.evidence import Evidence
from amulet_integrations.learning.example import Example
from amulet_integrations.learning.rewards import Rewards
from amulet_integrations.learning.spline import FEWEST_KNOTS
from amulet_integrations.learning.strength import DEFAULT_MIN_TOKENS
from amulet_integrations.learning.tokens import AnswerReader
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import FrozenModel

DEFAULT_SCALES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0)
DEFAULT_LEAST_ODDS = 3.0
"""Where Kass and Raftery (JASA, 1995) let "positive" evidence begin."""


class RankedPreference(FrozenModel):
    """A candidate and what the examples say for it.

    Attributes:
        preference: The candidate; None is that there is no preference.
        number: Its place among the candidates as they were given, from 0.
        probability: Its posterior probability.
        log_evidence: The log-likelihood of the examples under it, its strength integrated out, in
            nats.
        guidance_scale: The scale under which the examples are likeliest, within those looked at;
            None where there is no preference to scale.
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
    examples: Iterable[Example],
    *,
    guidance_scales: Sequence[float] = DEFAULT_SCALES,
    priors: Sequence[float] | None = None,
    temperature: float = 1.0,
    min_tokens: int = DEFAULT_MIN_TOKENS,
    least_odds: float = DEFAULT_LEAST_ODDS,
    slip: float = 0.01,
    lapse: float = 0.05,
    resamples: int = 200,
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
    the range of `guidance_scales`; a spline gives the likelihood between them. Three things keep
    a single odd token, choice or example from deciding all: `slip` (see `estimate_strength`),
    `lapse` (blind choices), and `resamples` (posteriors averaged over resampled examples).

    Args:
        engine: The engine of the model that answers the user.
        candidates: Texts, preferences (their weights count, their conditions do not), or None for
            having no preference; at least two, all different.
        examples: What the user accepted and rejected.
        guidance_scales: Where the likelihood is worked out, at least 4, rising.
        priors: How probable each candidate is beforehand, above 0 and up to a common factor; all
            alike by default.
        temperature: The temperature that answers were sampled with, above 0.
        min_tokens: Fewest tokens of answers.
        least_odds: How many times as probable as the second the first has to be, above 1.
        slip: The share of tokens written by the base, from 0 (off) to 1.
        lapse: The share of choices between answers that are made blindly, from 0 (off) to 1.
        resamples: How many resamples of the examples; 0 gives the plain posterior.
        max_guidance_scale: The largest guidance scale.
        separator: Stands between the system message and a preference.
        chat_template_kwargs: Further variables of the model's chat template.

    Returns:
        The ranking.

    Raises:
        EvidenceError: No example, too few tokens, or candidates that the answers do not tell
            apart.
        InvalidParamsError: A setting is out of its range, candidates are too few or the same, or
            priors do not fit them.
        InvalidProfileError: A candidate's text is none.
        GuidanceScaleError: `guidance_scales` go past `max_guidance_scale`.
        ContextLengthError: An example is too long; the message has its number.
        PromptError: An example cannot be written as a prompt.
    """
    check_number("temperature", temperature, 0.0)
    check_number("least_odds", least_odds, 1.0)
    check_number("max_guidance_scale", max_guidance_scale, 0.0)
    check_share("slip", slip)
    check_share("lapse", lapse)
    check_count("min_tokens", min_tokens, 1)
    check_count("resamples", resamples, 0)
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
    rewards = Rewards(engine, read, scales, temperature=temperature, slip=slip, lapse=lapse)
    evidence = Evidence(np.array(scales), np.array([rewards.of(*pair) for pair in answers]))
    probabilities = evidence.probabilities(log_priors, resamples)
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
        evidence.likeliest_scales().tolist(),
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
    """Refuses a ranking whose first is hardly ahead, or which is the prior's alone."""
    first, second = ranked[:2]
    evidence = [one.log_evidence for one in ranked]
    decided = first.probability >= least_odds * second.probability
    if decided and max(evidence) - min(evidence) >= np.log(least_odds):
        return
    raise EvidenceError(
        f"{examples} examples of {tokens} tokens do not tell the candidates apart: "
        f"candidates[{first.number}] has probability {first.probability:.2f} and "
        f"candidates[{second.number}] {second.probability:.2f}, and the log evidence of all "
        f"differs by {max(evidence) - min(evidence):.1f} nats; least_odds={least_odds:g}. Give "
        "more examples, or leave out candidates that come to the same."
    )


def _bits(probabilities: Any) -> float:
    shares = probabilities[probabilities > 0.0]
    return float(-(shares * np.log2(shares)).sum()) + 0.0
