"""How strongly a user wants the preferences applied, from answers that the user accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.guidance import DEFAULT_MAX_GUIDANCE_SCALE
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.learning.active_preferences import contexts_in_force
from amulet_integrations.learning.checks import (
    DEFAULT_MIN_EXAMPLES,
    DEFAULT_MIN_TOKENS,
    check_count,
    check_enough,
    check_examples,
    check_number,
    check_scales,
    check_share,
    check_temperature,
    check_tokens,
)
from amulet_integrations.learning.example import Example, ExampleLike
from amulet_integrations.learning.likelihood import log_likelihoods
from amulet_integrations.learning.policies import policies_at
from amulet_integrations.learning.posterior import Posterior
from amulet_integrations.learning.scales import default_scales
from amulet_integrations.learning.spline import FEWEST_KNOTS
from amulet_integrations.learning.tokens import Answer, AnswerReader
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import FrozenModel

DEFAULT_WIDEST_INTERVAL = 2.0
"""20 answers of up to 32 tokens by the embedded model give 0.15 to 0.75, by the preference."""

# The least moves an estimate from answers without slips by a quarter of its standard error.
_SLIPS = (0.01, 0.03, 0.1)
_COST_OF_SLIPS = 3.0  # nats for each step up: tokens against a preference may be its weakness


class StrengthEstimate(FrozenModel):
    """The guidance scale that accepted answers are likeliest under, and how sure that is.

    Attributes:
        guidance_scale: The likeliest guidance scale (the mode of the posterior). 0 says that the
            answers do not follow the preferences.
        max_kl: The bound that the answers were scored under at that scale, in nats; None for none.
            "default" where the scale is from 0 to 1 and no bound was named: there the default one
            does not hold.
        interval: The credible interval.
        level: The probability of the interval.
        tokens: How many tokens of answers were read.
        examples: How many answers.
        dispersion: How much more the answers differ among each other than the model has it, at
            least 1. The interval allows for it, but far above 1, say 10, the answers are not of
            this kind and the estimate means little. A misfit that all answers share does not show
            here: greedy answers (temperature 0) come out 35 to 50 % too strong with a dispersion
            of 1.
        slip: The share of tokens that the base is taken to have written.
        scales: The guidance scales at which the likelihood was worked out.
        log_likelihoods: The answers' log-likelihood at each of them, in nats.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    guidance_scale: float
    max_kl: MaxKL = None
    interval: tuple[float, float]
    level: float
    tokens: int
    examples: int
    dispersion: float
    slip: float
    scales: tuple[float, ...] = Field(repr=False)
    log_likelihoods: tuple[float, ...] = Field(repr=False)

    @property
    def params(self) -> AmuletParams:
        """Parameters whose game ends at the guidance scale."""
        return AmuletParams.from_guidance_scale(self.guidance_scale)

    def apply_to(self, profile: PreferenceProfile) -> PreferenceProfile:
        """A copy of a profile with this scale and its bound, to be saved; its version is kept.

        They take the place of its `params` or `preset`. A profile of another method becomes one of
        "amulet", the method that reads a scale.
        """
        update: dict[str, Any] = {
            "guidance_scale": self.guidance_scale,
            "max_kl": self.max_kl,
            "params": None,
            "preset": None,
        }
        if profile.method is not None:
            update["method"] = "amulet"
        return profile.model_copy(update=update)


def estimate_strength(
    engine: Engine,
    profile: PreferenceProfile,
    examples: Iterable[ExampleLike],
    *,
    context: Mapping[str, str] | None = None,
    temperature: float = 1.0,
    max_kl: MaxKL = "default",
    scales: Sequence[float] | None = None,
    min_tokens: int = DEFAULT_MIN_TOKENS,
    min_examples: int = DEFAULT_MIN_EXAMPLES,
    widest_interval: float = DEFAULT_WIDEST_INTERVAL,
    level: float = 0.95,
    slip: float | None = None,
    max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
    separator: str = DEFAULT_SEPARATOR,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> StrengthEstimate:
    """Estimates the guidance scale under which a user's accepted answers are likeliest.

    Under the guidance scale g the log-likelihood of the answers is the sum over their tokens of

        log softmax(log pi_base + g * sum_k w_k (log pi_k - log pi_base)),

    the log-probability of the token that was written. That is an exponential family in g, whose
    sufficient statistic is the preference's advantage of the token; so without a bound the
    log-likelihood is concave and has one maximum. Reading guidance as a likelihood whose strength
    can be inferred is the Bayesian view of Context Steering (He et al., ICLR 2025).

    Under a bound, a token's policy goes no further from some g on, and nor does what it says of
    the strength: its log-likelihood is flat from there, so the sum need not be concave, and the
    stronger the guidance was, the fewer tokens tell of it. Where the bound held nearly all of them
    back, stronger scales are as likely; the interval is then wide, and refused.

    One token that the preference makes absurd could outvote a thousand: its log-likelihood falls
    linearly in g, without end. Answers of people have such tokens, and so have sampled ones whose
    text is tokenised in another way than it was written. So with the probability `slip` a token is
    written by the base, which bounds what it can say against g. How often, is estimated too, with
    a prior for small values: it is 0.01 unless 0.03 or 0.1 make the answers e^3 or e^6 times as
    likely. (With slips, too, the sum need not be concave; the maximum is looked for over the
    whole range.)

    The prior is uniform over the range of `scales`. Only accepted answers count. The examples are
    scored one after the other; all scales share the forward passes of an example.

    Args:
        engine: The engine of the model that answers the user.
        profile: The user's; the preferences in force now count, with contexts and weights as
            they are decoded with.
        examples: What the user accepted, each an `Example`, a dict of its fields, or a pair of
            question and answer; a few hundred tokens together are enough.
        context: What the calls say about themselves, for preferences with conditions.
        temperature: The temperature that the answers were sampled with; leave it at 1 for
            answers that people wrote. At least 0.01. Greedy answers are no samples, and look
            stronger than they were.
        max_kl: The bound that the user's answers are decoded under, in nats; None for none. By
            default the profile's own, or else that of the preset "default", which holds at scales
            above 1. Where wrappers have another one, from their constructors or a preset saved for
            the model, name it here.
        scales: Guidance scales at which the likelihood is worked out, at least 4, from 0 up,
            rising. By default about 35, from 0 to `max_guidance_scale`.
        min_tokens: Fewest tokens of answers.
        min_examples: Fewest accepted answers.
        widest_interval: The widest interval that is still told; never more than half of the range
            of `scales`, as the prior alone has 95 % of it.
        level: The probability of the interval.
        slip: The share of tokens written by the base, from 0 (off) to 1; None estimates it.
        max_guidance_scale: The largest guidance scale.
        separator: Stands between the system message and a preference.
        chat_template_kwargs: Further variables of the model's chat template.

    Returns:
        The estimate.

    Raises:
        EvidenceError: No accepted answer, too few answers or tokens, an example twice, no
            preference in force, an interval that is too wide, or a maximum at the strongest
            scale, or at the weakest if that is not 0.
        InvalidParamsError: A setting is out of its range or of another type.
        InvalidProfileError: `context` is no mapping of strings to strings.
        GuidanceScaleError: `scales` go past `max_guidance_scale`.
        ContextLengthError: An example is too long; the message has its number.
        PromptError: An example cannot be written as a prompt.
    """
    temperature = check_temperature(temperature)
    widest_interval = check_number("widest_interval", widest_interval, 0.0)
    level = check_number("level", level, 0.0, 1.0)
    max_guidance_scale = check_number("max_guidance_scale", max_guidance_scale, 0.0)
    named = Strength(max_kl=max_kl)
    slips = _SLIPS if slip is None else (check_share("slip", slip),)
    check_count("min_tokens", min_tokens, 1)
    check_count("min_examples", min_examples, 1)
    places = check_scales(
        "scales",
        default_scales(max_guidance_scale) if scales is None else scales,
        FEWEST_KNOTS,
        max_guidance_scale,
    )
    texts, own_weights = contexts_in_force(profile, context)
    reader = AnswerReader(engine, separator, chat_template_kwargs)
    answers = _accepted(reader, check_examples(examples), texts)
    tokens = sum(len(answer.ids) for answer in answers)
    check_tokens(tokens, len(answers), min_tokens)
    check_enough(len(answers), min_examples, "accepted answers")
    bound = named.over(profile.strength).bound
    policies = policies_at(places, own_weights, bound)
    # Shape (examples, slips, scales).
    found = np.array(
        [log_likelihoods(engine, answer, policies, slips, temperature) for answer in answers]
    )
    costs = _COST_OF_SLIPS * np.arange(len(slips))
    likeliest = int((found.sum(axis=0).max(axis=1) - costs).argmax())
    curves = found[:, likeliest]
    posterior = Posterior.of(np.array(places), curves, level)
    _check_found(posterior, places, widest_interval, tokens, policies[-1].max_kl)
    return StrengthEstimate(
        guidance_scale=posterior.mode,
        max_kl=_told_bound(posterior.mode, bound),
        interval=posterior.interval,
        level=level,
        tokens=tokens,
        examples=len(answers),
        dispersion=posterior.dispersion,
        slip=slips[likeliest],
        scales=tuple(places),
        log_likelihoods=tuple(curves.sum(axis=0).tolist()),
    )


def _told_bound(scale: float, bound: MaxKL) -> MaxKL:
    """The bound in force at a scale; "default" where that is none for being the default one."""
    applied = Strength(guidance_scale=scale, max_kl=bound).settled().max_kl
    return bound if applied is None else applied


def _accepted(
    reader: AnswerReader, examples: Sequence[Example], texts: Sequence[str]
) -> list[Answer]:
    answers = [
        answer
        for number, example in enumerate(examples)
        if example.accepted is not None
        and (answer := reader.answers(number, example, texts)[0]) is not None
    ]
    if not answers:
        raise EvidenceError(
            f"None of the {len(examples)} examples has an accepted answer, and a strength is "
            "estimated from those. Give answers that the user took, wrote or chose."
        )
    return answers


def _check_found(
    posterior: Posterior, places: Sequence[float], widest: float, tokens: int, bound: float | None
) -> None:
    """Refuses a posterior that says too little, or lies outside of what was looked at.

    Args:
        posterior: What was found.
        places: The guidance scales looked at.
        widest: The widest interval that is still told.
        tokens: How many tokens it rests on.
        bound: The bound on the strongest of them, in nats.
    """
    low, high = posterior.interval
    held = ""
    if bound is not None:
        held = (
            f" Under max_kl={bound:g} strong scales write much alike, and no answers tell them "
            "apart: learn from answers of weaker guidance or of a wider bound, or set "
            "max_guidance_scale to the strongest that you would decode with."
        )
    if posterior.mode >= places[-1]:
        raise EvidenceError(
            f"The answers are likeliest at {places[-1]:g}, the strongest guidance scale looked at. "
            "They are not written as this model would, or another preference fits them better; "
            f"if you mean it, raise max_guidance_scale.{held}"
        )
    if posterior.mode <= places[0] != 0.0:
        raise EvidenceError(
            f"The answers are likeliest at {places[0]:g}, the weakest guidance scale looked at. "
            "Give scales that begin with 0."
        )
    # Answers that say nothing leave the prior, whose interval is narrow where the range is.
    half = (places[-1] - places[0]) / 2.0
    if high - low > min(widest, half):
        limit = f"widest_interval={widest:g}" if widest <= half else "half of the range looked at"
        raise EvidenceError(
            f"{tokens} tokens leave the guidance scale between {low:.2f} and {high:.2f}, wider "
            f"than {limit} (the likeliest is {posterior.mode:.2f}, the "
            f"dispersion {posterior.dispersion:.1f}). Give more answers, or such as the preference "
            f"makes a difference for.{held}"
        )
