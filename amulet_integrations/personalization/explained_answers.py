"""Explained answers: what is kept of them, and how they become explanations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
from amulet_integrations.decoding.guidance import preference_weights
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.result import TokenExplanation
from amulet_integrations.errors import InvalidRequestError
from amulet_integrations.explanation.explained_tokens import ExplainedToken
from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.profiles.active import group_preferences

from .applied_preferences import Personalization
from .preference_style import score_contexts

EXPLANATION_ID = "explanation_id"
"""The key in an answer's metadata that names its explanation."""

KEPT = 32
"""Most explained answers that are kept."""

Render = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""f(preferences) -> the contexts of a call, without a preference and with each of them alone."""


@dataclass(frozen=True, repr=False, eq=False)
class ExplainedAnswer:
    """An answer whose tokens were explained while it was decoded.

    Attributes:
        question: What the user wrote last.
        text: The whole text.
        tokens: The explanations of its tokens.
        applied: The preferences that it was decoded with.
        engine: The engine that decoded it.
        render: Writes the contexts of single preferences.
    """

    question: str
    text: str
    tokens: tuple[TokenExplanation, ...]
    applied: Personalization
    engine: Engine
    render: Render

    @cached_property
    def explanation(self) -> Explanation:
        """The explanation, which is made once; preferences that share a context take a pass each.

        Raises:
            GenerationError: The engine fails.
            PromptError: A context for a preference alone cannot be written.
        """
        applied = self.applied
        _, own_weights = group_preferences(applied.preferences)
        at_pref = preference_weights(1.0, own_weights)
        detokenizer = IncrementalDetokenizer(self.engine.tokenizer, skip_special_tokens=False)
        texts = [detokenizer.push(token.policy.token_id) for token in self.tokens]
        if texts:
            texts[-1] += detokenizer.flush()
        return Explanation(
            question=self.question,
            answer=self.text,
            tokens=tuple(
                ExplainedToken(
                    text=text,
                    base=token.base,
                    pref=token.pref or token.base,
                    policy=token.policy,
                    kl_from_base=token.kl_from_base,
                    kl_from_pref=token.kl_from_pref or 0.0,
                    guidance_scale=_scale_of(token.weights, at_pref),
                    guidance_fraction=token.guidance_fraction,
                    preference_shifts=shifts,
                )
                for text, token, shifts in zip(
                    texts, self.tokens, self._preference_shifts(), strict=True
                )
            ),
            preferences=applied.preferences,
            model_name=self.engine.model_name,
            method=applied.applied_method,
            guidance_scale=applied.guidance_scale,
            max_kl=applied.max_kl,
            left_out=tuple(it.preference for it in applied.left_out),
        )

    def _preference_shifts(self) -> list[tuple[float, ...]]:
        """For each token, how much likelier than base each preference alone makes it, in nats."""
        preferences = self.applied.preferences
        contexts = 1 + len(group_preferences(preferences)[0])
        if contexts == 1 + len(preferences):  # each was run by itself
            rows = [token.context_logprobs for token in self.tokens]
        else:
            alone = self.render([preference.text for preference in preferences])
            ids = [token.policy.token_id for token in self.tokens]
            scores = score_contexts(self.engine, alone, ids, "Scoring the explained answer")
            rows = list(zip(*scores, strict=True))
        return [tuple(_difference(own, base) for own in others) for base, *others in rows]


class RecentAnswers:
    """The explained answers of a short while, each with an id. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._answers: OrderedDict[str, ExplainedAnswer] = OrderedDict()

    def __reduce__(self) -> tuple[type[RecentAnswers], tuple[()]]:
        return RecentAnswers, ()  # the texts are private, and of this process

    def keep(self, answer: ExplainedAnswer) -> str:
        """Keeps an answer, and drops the oldest one where there are too many; returns its id."""
        name = uuid4().hex
        with self._lock:
            self._answers[name] = answer
            if len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return name

    def find(self, answer: object, user_id: str | None = None) -> ExplainedAnswer:
        """The explained answer that a framework's answer names.

        Args:
            answer: What a wrapper returned, or None for the last one that was explained.
            user_id: Of which user the last one is wanted; None for whoever asked last.

        Raises:
            InvalidRequestError: It names none, or one that is not kept any more.
        """
        with self._lock:
            for latest in reversed(self._answers.values()) if answer is None else ():
                if user_id in (None, latest.applied.user_id):
                    return latest
            name = None if answer is None else _id_in(answer)
            if name is not None and name in self._answers:
                return self._answers[name]
        if name is None:
            raise InvalidRequestError(
                "There is no explanation: call the model with explain=True, and pass what it "
                "returned (of a stream, the last chunk or the sum of all)."
            )
        raise InvalidRequestError(
            f"The explanation {name!r} is not kept any more: the last {KEPT} are, in the process "
            "that decoded them. Ask again, and read it sooner."
        )


def _id_in(answer: object) -> str | None:
    """The id in what LangChain or LlamaIndex keeps of an answer's metadata."""
    for name in ("response_metadata", "raw"):
        metadata: Any = getattr(answer, name, None)
        if isinstance(metadata, Mapping):
            applied = metadata.get("amulet")
            found = applied.get(EXPLANATION_ID) if isinstance(applied, Mapping) else None
            return found if isinstance(found, str) else None
    return None


def _scale_of(weights: Sequence[float], at_pref: Sequence[float]) -> float:
    """The guidance scale that gives these weights, where `at_pref` are those at scale 1."""
    steering = max(range(len(at_pref)), key=lambda at: abs(at_pref[at]) if at else 0.0)
    return weights[steering] / at_pref[steering] if steering else 0.0


def _difference(log: float, other: float) -> float:
    return 0.0 if log == other else log - other
