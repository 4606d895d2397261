"""Candidate preferences, ranked by how well they explain accepted and rejected answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from pydantic import Field
from scipy.special import entr, log_softmax

from amulet_integrations.decoding.guidance import DEFAULT_MAX_GUIDANCE_SCALE
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import FrozenModel

from . import arguments
from .evidence import CandidateScorer, Evidence
from .examples import ExampleLike, check_examples
from .guidance_scales import check_scales
from .policy_likelihood import Floats
from .tokenized_answers import AnswerTokenizer, check_enough

DEFAULT_SCALES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0)
DEFAULT_LEAST_ODDS = 3.0
"""Where Kass and Raftery (JASA, 1995) let "positive" evidence begin."""

_POINTS = 201  # of the grid that the strength is integrated out on
_RESAMPLES = 200


Candidate: TypeAlias = Preference | None


class RankedPreference(FrozenModel):
    """A candidate and the evidence for it.

    Attributes:
        preference: The candidate; None stands for having no preference.
        number: Its number among the candidates as they were given, from 0.
        probability: Its posterior probability.
        log_evidence: The log-likelihood of the examples under it, its strength integrated out, in
            nats.
        guidance_scale: The scale under which the examples are likeliest; None where that is the
            weakest or the strongest one computed, or where there is no preference to scale.
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
        entropy: The entropy of their probabilities, in bits: 0 where one is certain.
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


@arguments.checked
def rank_preferences(
    engine: Engine,
    candidates: Sequence[str | Preference | None],
    examples: Iterable[ExampleLike],
    *,
    guidance_scales: Sequence[float] = DEFAULT_SCALES,
    priors: arguments.Priors = None,
    temperature: arguments.Temperature = 1.0,
    max_kl: MaxKL = "default",
    min_tokens: arguments.Count = arguments.DEFAULT_MIN_TOKENS,
    min_examples: arguments.Count = arguments.DEFAULT_MIN_EXAMPLES,
    least_odds: arguments.Odds = DEFAULT_LEAST_ODDS,
    max_guidance_scale: arguments.Positive = DEFAULT_MAX_GUIDANCE_SCALE,
    separator: arguments.Separator = DEFAULT_SEPARATOR,
    chat_template_kwargs: arguments.TemplateVariables = None,
) -> PreferenceRanking:
    """Ranks candidate preferences by how well they explain answers.

    With P the probability of an answer under a candidate k at the guidance scale g, an example
    with only an accepted answer a counts as log P(a): the user wrote it, or would have. An example
    with both is a choice between two answers that somebody else wrote. So only the choice counts,
    by Bradley and Terry: sigmoid(r(a) - r(b)), where r = log P - log P_base is the implicit reward
    of direct preference optimisation (Rafailov et al., NeurIPS 2023), with its beta at 1. With only
    a rejected answer b it is sigmoid(-r(b)).

    The strength g is one for all examples, unknown, and integrated out with a uniform prior over
    the range of `guidance_scales`; a spline gives the rewards between them. P is bounded as in
    decoding, so strong scales differ little. Three things keep a single odd token, choice or
    example from deciding everything: slips of 1 % of the tokens (see `estimate_strength`), 5 % of
    blind choices, and posteriors averaged over 200 resamples of the examples.

    Args:
        engine: The engine of the model that answers the user.
        candidates: Texts, preferences (their weights count, their conditions do not), or None for
            having no preference; at least two, all different.
        examples: What the user accepted and rejected, each as for `estimate_strength`.
        guidance_scales: Where the likelihood is computed, at least 4, from 0 up, rising.
        priors: How probable each candidate is beforehand, above 0 and up to a common factor; all
            equal by default.
        temperature: The temperature that answers were sampled with, at least 0.01.
        max_kl: The bound under which answers are decoded, in nats; None for none. By default that
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
        EvidenceError: There are too few examples or tokens, an example is given twice, or the
            answers do not distinguish the candidates.
        InvalidParamsError: An argument is out of its range or of another type, candidates are too
            few or the same, or priors do not fit them.
        InvalidProfileError: A candidate's text is blank or too long.
        GuidanceScaleError: `guidance_scales` go past `max_guidance_scale`.
        ContextLengthError: An example is too long; the message has its number.
        PromptError: An example cannot be written as a prompt.
    """
    bound = Strength(max_kl=max_kl).bound
    scales = check_scales("guidance_scales", guidance_scales, max_guidance_scale)
    given = _check_candidates(candidates)
    log_priors = normalized_log_priors(priors, len(given))
    texts = [candidate.text for candidate in given if candidate is not None]
    tokenizer = AnswerTokenizer(engine, separator, chat_template_kwargs)
    pairs = [
        tokenizer.tokenize(*numbered, texts) for numbered in enumerate(check_examples(examples))
    ]
    if not pairs:
        raise EvidenceError(
            "There are no examples. Give answers that the user took or turned down."
        )
    answers = [answer for pair in pairs for answer in pair if answer is not None]
    tokens = check_enough(answers, len(pairs), "examples", min_tokens, min_examples)
    grid = np.linspace(scales[0], scales[-1], _POINTS)
    scorer = CandidateScorer(engine, given, scales, grid, temperature, bound)
    evidence = Evidence(grid, np.array([scorer.log_likelihood(*pair) for pair in pairs]))
    probabilities = evidence.probabilities(log_priors, _RESAMPLES)
    ranked = _ranked(given, evidence, probabilities)
    _check_distinguished(ranked, least_odds, len(pairs), tokens)
    return PreferenceRanking(
        ranked=ranked,
        entropy=float(entr(probabilities).sum() / np.log(2.0)),
        tokens=tokens,
        examples=len(pairs),
    )


def _check_candidates(candidates: Any) -> list[Candidate]:
    """Makes preferences of texts; None stays.

    Raises:
        InvalidParamsError: There are fewer than two, two are the same, or one is no preference.
        InvalidProfileError: A text is out of its range.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise InvalidParamsError(
            f"candidates is a {type(candidates).__name__}; give a list of at least two."
        )
    checked = [_check_candidate(f"candidates[{i}]", it) for i, it in enumerate(candidates)]
    if len(checked) < 2:  # noqa: PLR2004 - a choice
        raise InvalidParamsError(f"{len(checked)} candidates leave no choice; give at least two.")
    seen: dict[Any, int] = {}
    for number, candidate in enumerate(checked):
        key = candidate and (candidate.text, candidate.weight)
        first = seen.setdefault(key, number)
        if first != number:
            raise InvalidParamsError(
                f"candidates[{number}] is the same as candidates[{first}]; leave one out."
            )
    return checked


def _check_candidate(place: str, candidate: Any) -> Candidate:
    if isinstance(candidate, str):
        candidate = Preference(text=candidate)
    if candidate is None:
        return None
    if not isinstance(candidate, Preference):
        raise InvalidParamsError(
            f"{place} is a {type(candidate).__name__}; give a text, a Preference or None."
        )
    if candidate.weight == 0.0:
        raise InvalidParamsError(f"{place} has weight 0, which switches it off; give None instead.")
    return candidate


def normalized_log_priors(priors: Sequence[float] | None, count: int) -> Floats:
    """The logarithms of priors, scaled to add up to 1.

    Raises:
        InvalidParamsError: There is not one for each candidate.
    """
    if priors is None:
        priors = [1.0] * count
    if len(priors) != count:
        raise InvalidParamsError(
            f"priors: {len(priors)} for {count} candidates; give one for each."
        )
    logs: Floats = log_softmax(np.log(priors))
    return logs


def _ranked(
    candidates: Sequence[Candidate], evidence: Evidence, probabilities: Floats
) -> tuple[RankedPreference, ...]:
    rows = zip(
        candidates,
        probabilities.tolist(),
        evidence.log_evidence().tolist(),
        evidence.likeliest_scales(),
        strict=True,
    )
    ranked = [
        RankedPreference(
            preference=candidate,
            number=number,
            probability=probability,
            log_evidence=log_evidence,
            guidance_scale=None if candidate is None else scale,
        )
        for number, (candidate, probability, log_evidence, scale) in enumerate(rows)
    ]
    return tuple(sorted(ranked, key=lambda it: (it.probability, it.log_evidence), reverse=True))


def _check_distinguished(
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
