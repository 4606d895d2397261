"""Measures by a sentence embedding whether an answer is about its question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

from amulet_integrations.engine.encoders.sentence_encoder import EMBEDDED_ENCODER, SentenceEncoder
from amulet_integrations.evaluation.data.record_types import Answer, Preference

from .builtin_scores import RELEVANCE
from .scorer import model_label

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class RelevanceScorer:
    """The cosine of the embeddings of a question and its answer, from -1 to 1.

    A text is embedded by the mean of the encoder's last hidden states over its tokens, as in
    Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084). Texts that are too long for the
    encoder are truncated. A blank answer has no relevance.

    Args:
        model: An encoder, in eval mode; or a `SentenceEncoder`, which has all the rest.
        tokenizer: The tokenizer of the encoder.
        name: The name of the encoder.

    Attributes:
        name: The score and everything that changes it: the encoder, its commit if it is from the
            hub, and its dtype.

    Raises:
        UnsupportedModelError: The model has a decoder too.
    """

    score_names: tuple[str, ...] = (RELEVANCE,)

    @overload
    def __init__(self, model: SentenceEncoder) -> None: ...

    @overload
    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
    ) -> None: ...

    def __init__(self, model: Any, tokenizer: Any = None, *, name: str | None = None) -> None:
        is_whole = isinstance(model, SentenceEncoder)
        self._encoder = model if is_whole else SentenceEncoder(model, tokenizer, name=name)
        label = model_label(self._encoder.name, self._encoder.model)
        self.name: str = f"{RELEVANCE} {label}"

    @classmethod
    def from_pretrained(
        cls, model: str = EMBEDDED_ENCODER, *, revision: str | None = None, device: str = "auto"
    ) -> Self:
        """Loads an encoder, named as in `SentenceEncoder.from_pretrained`, which raises its errors.

        Args:
            model: A Hugging Face id, a local folder, or "embedded".
            revision: A commit, branch or tag of the hub.
            device: The device of the encoder; "auto" takes the accelerator, if there is one.
        """
        return cls(SentenceEncoder.from_pretrained(model, revision=revision, device=device))

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - only the question counts
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`."""
        measured = [answer for answer in answers if answer.text.strip()]
        texts = list(dict.fromkeys(text for it in measured for text in (it.question, it.text)))
        vectors = dict(zip(texts, self._encoder.embed(texts), strict=True)) if texts else {}
        return [
            {RELEVANCE: float(vectors[it.question] @ vectors[it.text])} if it.text.strip() else {}
            for it in answers
        ]
