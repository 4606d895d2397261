"""Sentence embeddings of preferences, for gates that compare them with questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amulet_integrations.engine.encoders.sentence_encoder import shared_encoder

from .digest_cache import DigestCache

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2_048
"""Most preferences whose embeddings are kept: 3 MB of the embedded encoder's."""


class PreferenceEmbeddings:
    """Embeds preferences and questions. May be used from any thread.

    A preference is embedded once. Of questions nothing is kept, and of preferences no text.
    """

    def __init__(self) -> None:
        self._kept: DigestCache[Tensor] = DigestCache(KEPT)

    def cosines(self, encoder: str, question: str, preferences: Sequence[str]) -> list[float]:
        """How alike a question is to each preference, from -1 to 1.

        Args:
            encoder: The sentence embedding, as in `SentenceEncoder.from_pretrained`.
            question: The question.
            preferences: The texts.

        Raises:
            ModelError: The sentence embedding cannot be loaded.
        """
        found = {text: self._kept.get(encoder, text) for text in preferences}
        vectors = {text: vector for text, vector in found.items() if vector is not None}
        new = [text for text in found if text not in vectors]
        asked, *embedded = shared_encoder(encoder).embed([question, *new])
        for text, vector in zip(new, embedded, strict=True):
            vectors[text] = vector.clone()  # a row alone would keep its whole batch
            self._kept.keep(encoder, text, vectors[text])
        return [float(asked @ vectors[text]) for text in preferences]
