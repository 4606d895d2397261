"""The strength at which a user wants the preferences applied, estimated from accepted answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import numpy as np
from pydantic import Field

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.guidance import DEFAULT_MAX_GUIDANCE_SCALE
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.profiles import PreferenceProfile, active_preferences
from amulet_integrations.profiles.active import group_preferences
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.prompting import DEFAULT_SEPARATOR
from amulet_integrations.validation import FrozenModel

from . import arguments
from .examples import Example, ExampleLike, check_examples
from .guidance_scales import check_scales, default_scales
from .policy_likelihood import log_likelihoods, policies_at
from .posterior import Posterior
from .tokenized_answers import AnswerTokenizer, TokenizedAnswer, check_enough

DEFAULT_WIDEST_INTERVAL = 2.0
"""20 answers of up to 32 tokens by the embedded model give 0.15 to 0.75, by the preference."""

# The least moves an estimate from answers without slips by a quarter of its standard error.
_SLIPS = (0.01, 0.03, 0.1)
_SLIP_PENALTY = 3.0  # nats for each step up: tokens against a preference may show its weakness


class StrengthEstimate(FrozenModel):
    """The guidance scale under which accepted answers are likeliest, and how certain it is.

    Attributes:
        guidance_scale: The likeliest guidance scale (the mode of the posterior). 0 means that the
            answers do not follow the preferences.
        max_kl: The bound under which the answers were scored at that scale, in nats; None for
            none. "default" where the scale is from 0 to 1 and no bound was named: the default
            bound does not hold there.
        interval: The credible interval.
        level: The probability of the interval.
        tokens: How many tokens of answers were read.
        examples: How many answers.
        dispersion: How much more the answers differ from each other than the model predicts, at
            least 1. The interval allows for it, but far above 1, say 10, the answers are not of
            this kind and the estimate means little. A misfit that all answers share does not show
            here: greedy answers (temperature 0) come out 35 to 50 % too strong with a dispersion
            of 1.
        slip: The share of tokens that the base is taken to have written.
        scales: The guidance scales at which the likelihood was computed.
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
        """Parameters of Amulet's game that end at the guidance scale."""
        return AmuletParams.from_guidance_scale(self.guidance_scale)

    def apply_to(self, profile: PreferenceProfile) -> PreferenceProfile:
        """A copy of a profile with this scale and its bound, to be saved; its version is kept.

        They replace its `params` or `preset`. The method of a profile becomes "amulet" if it was
        another one, for only "amulet" reads a scale.
        """
        return profile.with_strength(self.guidance_scale, self.max_kl)


@arguments.checked
def estimate_strength(
    engine: Engine,
    profile: arguments.Profile,
    examples: Iterable[ExampleLike],
    *,
    context: Mapping[str, str] | None = None,
    temperature: arguments.Temperature = 1.0,
    max_kl: MaxKL = "default",
    scales: Sequence[float] | None = None,
    min_tokens: arguments.Count = arguments.DEFAULT_MIN_TOKENS,
    min_examples: arguments.Count = arguments.DEFAULT_MIN_EXAMPLES,
    widest_interval: arguments.Positive = DEFAULT_WIDEST_INTERVAL,
    level: arguments.Probability = 0.95,
    slip: arguments.OptionalShare = None,
    max_guidance_scale: arguments.Positive = DEFAULT_MAX_GUIDANCE_SCALE,
    separator: arguments.Separator = DEFAULT_SEPARATOR,
    chat_template_kwargs: arguments.TemplateVariables = None,
) -> StrengthEstimate:
    """Estimates the guidance scale under which a user's accepted answers are likeliest.

    Under the guidance scale g the log-likelihood of the answers is the sum over their tokens of

        log softmax(log pi_base + g * sum_k w_k (log pi_k - log pi_base)),

    the log-probability of the token that was written. That is an exponential family in g, whose
    sufficient statistic is the preference's advantage of the token; so without a bound the
    log-likelihood is concave and has one maximum. Reading guidance as a likelihood whose strength
    can be inferred is the Bayesian view of Context Steering (He et al., ICLR 2025).

    Under a bound, a token's policy stays the same from some g on, and its log-likelihood is flat
    from there. So the sum need not be concave, and the stronger the guidance was, the fewer tokens
    are evidence of it. Where the bound held nearly all tokens back, stronger scales are as likely;
    the interval is then wide, and refused.

    One token that the preference makes absurd could outvote a thousand: its log-likelihood falls
    linearly in g, without end. People write such tokens, and they also occur in sampled answers
    whose text is tokenised in another way than it was written. So each token is written by the
    base with the probability `slip`, which limits its evidence against g. The slip is estimated
    too, with a prior for small values: it is 0.01 unless 0.03 or 0.1 make the answers e^3 or e^6
    times as likely. (With slips the sum need not be concave either; the maximum is searched over
    the whole range.)

    The prior is uniform over the range of `scales`. Only accepted answers count. The examples are
    scored one after the other; all scales share the forward passes of an example.

    Args:
        engine: The engine of the model that answers the user.
        profile: The user's profile. The preferences that are active now count, with the contexts
            and weights that they are decoded with.
        examples: What the user accepted, each an `Example`, a dict of its fields, or a pair of
            question and answer; a few hundred tokens together are enough.
        context: The context of the calls, such as ``{"topic": "health"}``, for preferences with
            conditions.
        temperature: The temperature that the answers were sampled with; leave it at 1 for
            answers that people wrote. At least 0.01. Greedy answers are no samples, and look
            stronger than they were.
        max_kl: The bound under which the user's answers are decoded, in nats; None for none. By
            default the profile's own, or else that of the preset "default", which holds at scales
            above 1. Where wrappers have another one, from their constructors or a preset saved for
            the model, name it here.
        scales: Guidance scales at which the likelihood is computed, at least 4, from 0 up,
            rising. By default about 35, from 0 to `max_guidance_scale`.
        min_tokens: Fewest tokens of answers.
        min_examples: Fewest accepted answers.
        widest_interval: The widest interval that is accepted; never more than half of the range
            of `scales`, as the prior alone has 95 % of it.
        level: The probability of the interval.
        slip: The share of tokens written by the base, from 0 (off) to 1; None estimates it.
        max_guidance_scale: The largest guidance scale.
        separator: Stands between the system message and a preference.
        chat_template_kwargs: Further variables of the model's chat template.

    Returns:
        The estimate.

    Raises:
        EvidenceError: There is no accepted answer, there are too few answers or tokens, an example
            is given twice, no preference is active, the interval is too wide, or the maximum is at
            the strongest scale, or at the weakest if that is not 0.
        InvalidParamsError: An argument is out of its range or of another type.
        InvalidProfileError: `context` is no mapping of strings to strings.
        GuidanceScaleError: `scales` go past `max_guidance_scale`.
        ContextLengthError: An example is too long; the message has its number.
        PromptError: An example cannot be written as a prompt.
    """
    scales = check_scales(
        "scales",
        default_scales(max_guidance_scale) if scales is None else scales,
        max_guidance_scale,
    )
    texts, own_weights = _active_contexts(profile, context)
    tokenizer = AnswerTokenizer(engine, separator, chat_template_kwargs)
    answers = _accepted(tokenizer, check_examples(examples), texts)
    tokens = check_enough(answers, len(answers), "accepted answers", min_tokens, min_examples)
    bound = Strength(max_kl=max_kl).over(profile.strength).bound
    policies = policies_at(scales, own_weights, bound)
    slips = _SLIPS if slip is None else (slip,)
    # Shape (examples, slips, scales), without the base that comes first.
    by_slip = np.array(
        [log_likelihoods(engine, answer, policies, slips, temperature) for answer in answers]
    )[:, :, 1:]
    penalties = _SLIP_PENALTY * np.arange(len(slips))
    likeliest = int((by_slip.sum(axis=0).max(axis=1) - penalties).argmax())
    curves = by_slip[:, likeliest]
    posterior = Posterior.of(np.array(scales), curves, level)
    _check_conclusive(posterior, scales, widest_interval, tokens, policies[-1].max_kl)
    return StrengthEstimate(
        guidance_scale=posterior.mode,
        max_kl=_reported_bound(posterior.mode, bound),
        interval=posterior.interval,
        level=level,
        tokens=tokens,
        examples=len(answers),
        dispersion=posterior.dispersion,
        slip=slips[likeliest],
        scales=tuple(scales),
        log_likelihoods=tuple(curves.sum(axis=0).tolist()),
    )


def _active_contexts(
    profile: PreferenceProfile, context: Mapping[str, str] | None
) -> tuple[list[str], list[float]]:
    """Texts and weights of the preference contexts of a profile, as of now.

    Raises:
        EvidenceError: No preference is active, or the profile has a parent, whose preferences
            are not available here.
        InvalidProfileError: `context` is no mapping of strings to strings.
    """
    try:
        conditions = PreferenceContext({} if context is None else context)
    except AmuletError as error:
        raise type(error)(f"context: {error}") from error
    if profile.parent is not None:
        raise EvidenceError(
            f"The profile of {profile.user_id!r} has parent={profile.parent!r}, whose preferences "
            "shape the answers too. Pass the profile with those, as profiles.inherited gives it, "
            "and apply the estimate to the profile itself."
        )
    preferences = active_preferences(profile.preferences, datetime.now(UTC), conditions)
    if not preferences:
        raise EvidenceError(
            f"None of the {len(profile.preferences)} preferences of {profile.user_id!r} is in "
            "force, so there is no strength to estimate. Add one, or give the context that its "
            "conditions ask for."
        )
    return group_preferences(preferences)


def _reported_bound(scale: float, bound: MaxKL) -> MaxKL:
    """The bound at a scale; "default" where there is none because the default one ends there."""
    applied = Strength(guidance_scale=scale, max_kl=bound).settled().max_kl
    return bound if applied is None else applied


def _accepted(
    tokenizer: AnswerTokenizer, examples: Sequence[Example], texts: Sequence[str]
) -> list[TokenizedAnswer]:
    answers = [
        answer
        for number, example in enumerate(examples)
        if example.accepted is not None
        and (answer := tokenizer.tokenize(number, example, texts)[0]) is not None
    ]
    if not answers:
        raise EvidenceError(
            f"None of the {len(examples)} examples has an accepted answer, and a strength is "
            "estimated from those. Give answers that the user took, wrote or chose."
        )
    return answers


def _check_conclusive(
    posterior: Posterior, scales: Sequence[float], widest: float, tokens: int, bound: float | None
) -> None:
    """Refuses a posterior that is too wide, or whose mode is at an end of the scales.

    Args:
        posterior: The posterior.
        scales: The guidance scales at which the likelihood was computed.
        widest: The widest interval that is accepted.
        tokens: How many tokens the posterior is based on.
        bound: The bound at the strongest scale, in nats.
    """
    low, high = posterior.interval
    held = ""
    if bound is not None:
        held = (
            f" Under max_kl={bound:g} strong scales write much alike, and no answers tell them "
            "apart: learn from answers of weaker guidance or of a wider bound, or set "
            "max_guidance_scale to the strongest that you would decode with."
        )
    if posterior.mode >= scales[-1]:
        raise EvidenceError(
            f"The answers are likeliest at {scales[-1]:g}, the strongest guidance scale looked at. "
            "They are not written as this model would, or another preference fits them better; "
            f"if you mean it, raise max_guidance_scale.{held}"
        )
    if posterior.mode <= scales[0] != 0.0:
        raise EvidenceError(
            f"The answers are likeliest at {scales[0]:g}, the weakest guidance scale looked at. "
            "Give scales that begin with 0."
        )
    # Answers without any evidence leave the prior, and its interval is narrow if the range is.
    half = (scales[-1] - scales[0]) / 2.0
    if high - low > min(widest, half):
        limit = f"widest_interval={widest:g}" if widest <= half else "half of the range looked at"
        raise EvidenceError(
            f"{tokens} tokens leave the guidance scale between {low:.2f} and {high:.2f}, wider "
            f"than {limit} (the likeliest is {posterior.mode:.2f}, the "
            f"dispersion {posterior.dispersion:.1f}). Give more answers, or answers for which the "
            f"preference makes a difference.{held}"
        )
