"""Which preferences have to do with a question: the scores that gates compare with a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import UnsupportedModelError
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import PromptBuilder

from .preference_embeddings import PreferenceEmbeddings
from .preference_style import PreferenceStyles

LONGEST_QUESTION = 1_000
"""Most characters of a question that are looked at: its last ones."""


@dataclass(frozen=True)
class GateMemory:
    """What gates have found out about preferences, which they find out once.

    Attributes:
        styles: Which preferences are about style.
        embeddings: The sentence embeddings of the others.
    """

    styles: PreferenceStyles = field(default_factory=PreferenceStyles)
    embeddings: PreferenceEmbeddings = field(default_factory=PreferenceEmbeddings)


@dataclass(frozen=True)
class QuestionGate:
    """Finds the scores of preferences for a question.

    A preference about how answers are written, such as "Be brief.", belongs into every answer: its
    score is infinite. Which ones are, a preference's `kind` says, or else the model.

    Attributes:
        engine: The engine, which knows a preference of style when it reads it.
        prompts: How its prompts are written.
        memory: What is known of preferences already.
        encoder: The sentence embedding, as in `SentenceEncoder.from_pretrained`.
    """

    engine: Engine
    prompts: PromptBuilder
    memory: GateMemory
    encoder: str

    def scores(
        self, question: str, preferences: Sequence[Preference], deadline: Deadline
    ) -> list[float]:
        """The score of each preference, which a gate compares with its threshold.

        Args:
            question: What the user wrote last; only its last 1,000 characters are looked at.
            preferences: The preferences.
            deadline: Until when it may take.

        Raises:
            RequestTimeoutError: The deadline has passed.
            GenerationError: The engine fails.
            ModelError: The sentence embedding cannot be loaded, or finds no numbers.
        """
        styled = [self._is_style(preference, deadline) for preference in preferences]
        topical = [it.text for it, style in zip(preferences, styled, strict=True) if not style]
        cosines: list[float] = []
        if topical:
            deadline.check("while its gate looked at the question")
            asked = question.strip()[-LONGEST_QUESTION:]
            cosines = self.memory.embeddings.cosines(self.encoder, asked, topical)
        if any(map(math.isnan, cosines)):
            raise UnsupportedModelError(
                f"gate_encoder={self.encoder!r}: its vectors hold NaN, so it cannot tell which "
                "preferences have to do with a question. Name another sentence embedding."
            )
        found = iter(cosines)
        return [math.inf if style else next(found) for style in styled]

    def _is_style(self, preference: Preference, deadline: Deadline) -> bool:
        if preference.kind is not None:
            return preference.kind == "style"
        deadline.check("while its gate looked at the preferences")
        return self.memory.styles.is_style(self.engine, self.prompts, preference.text)
