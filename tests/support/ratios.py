"""How much a preference shows in answers: by the model's own log-likelihood ratio."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from amulet_integrations import Preference, PreferenceProfile, SamplingParams
from amulet_integrations.engine import LocalEngine
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.prompting import ChatMessage, PromptBuilder

RAISED = "Answer like a pirate."
OTHER = "Use short and simple sentences."
TOKENS = 20


def mean_ratios(
    engine: LocalEngine, questions: Sequence[str], weights: Sequence[float]
) -> list[float]:
    """For each weight of the raised preference, beside another one of weight 0.5.

    Returns:
        The mean over questions and tokens of log P(answer | preference) - log P(answer | base),
        of answers sampled at temperature 1.
    """
    personalizer = Personalizer(engine)
    conversations = [[ChatMessage(role="user", content=question)] for question in questions]
    means = []
    for weight in weights:
        preferences = [Preference(text=RAISED, weight=weight), Preference(text=OTHER, weight=0.5)]
        profile = PreferenceProfile(
            user_id="ann",
            preferences=preferences,
            guidance_scale=3.0,
            max_kl=None,
        )
        chosen = personalizer.personalize(PreferenceSelection(profile=profile))
        requests = [
            personalizer.build_request(
                PreparedCall(
                    messages=tuple(conversation),
                    personalization=chosen,
                    sampling=SamplingParams(max_new_tokens=TOKENS, temperature=1.0, seed=seed),
                )
            )
            for seed, conversation in enumerate(conversations)
        ]
        answers = [result.token_ids for result in engine.generate(requests)]
        means.append(fmean(map(_ratio, [engine] * len(answers), conversations, answers)))
    return means


def _ratio(
    engine: LocalEngine, conversation: Sequence[ChatMessage], answer: Sequence[int]
) -> float:
    contexts = PromptBuilder(engine.tokenizer).contexts(conversation, [None, RAISED])
    base, raised = engine.score(contexts, answer)
    return float((raised - base).mean())
