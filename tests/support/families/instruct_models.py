"""Well-known instruct models: ids, licences and sizes, as their publishers give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PreTrainedConfig


@dataclass(frozen=True)
class InstructModel:
    """One checkpoint on the hub.

    Attributes:
        name: Its id.
        licence: Its licence.
        parameters: The number of weights that its publisher names; tied ones count once.
        model_type: The family of its config.
        sizes: The entries of its config.json that its memory follows from.
    """

    name: str
    licence: str
    parameters: int
    model_type: str
    sizes: Mapping[str, Any]

    @property
    def config(self) -> PreTrainedConfig:
        config: PreTrainedConfig = AutoConfig.for_model(self.model_type, **self.sizes)
        return config


def _model(
    name: str,
    licence: str,
    parameters: int,
    family: str,
    sizes: tuple[int, int, int, int, int, int],
    *,
    tied: bool,
    **others: Any,
) -> InstructModel:
    """A model by the sizes that all have, and by what else its config says."""
    names = (
        *("hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "vocab_size"),
    )
    config = {
        **dict(zip(names, sizes, strict=True)),
        "tie_word_embeddings": tied,
        "max_position_embeddings": 8192,  # at least
        **others,
    }
    return InstructModel(name, licence, parameters, family, config)


_APACHE, _MIT = "Apache-2.0", "MIT"

INSTRUCT_MODELS = (
    _model(
        *("HuggingFaceTB/SmolLM2-135M-Instruct", _APACHE, 134_515_008),
        *("llama", (576, 1536, 30, 9, 3, 49152)),
        tied=True,
    ),
    _model(
        *("Qwen/Qwen2.5-0.5B-Instruct", _APACHE, 494_032_768),
        *("qwen2", (896, 4864, 24, 14, 2, 151936)),
        tied=True,
    ),
    _model(
        *("Qwen/Qwen3-0.6B", _APACHE, 596_049_920),
        *("qwen3", (1024, 3072, 28, 16, 8, 151936)),
        tied=True,
        head_dim=128,
    ),
    _model(
        *("google/gemma-3-1b-it", "Gemma Terms of Use", 999_885_952),
        *("gemma3_text", (1152, 6912, 26, 4, 1, 262144)),
        tied=True,
        head_dim=256,
        sliding_window=512,
    ),
    _model(
        *("meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 Community License", 1_235_814_400),
        *("llama", (2048, 8192, 16, 32, 8, 128256)),
        tied=True,
    ),
    _model(
        *("HuggingFaceTB/SmolLM2-1.7B-Instruct", _APACHE, 1_711_376_384),
        *("llama", (2048, 8192, 24, 32, 32, 49152)),
        tied=True,
    ),
    _model(
        *("meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2 Community License", 3_212_749_824),
        *("llama", (3072, 8192, 28, 24, 8, 128256)),
        tied=True,
    ),
    _model(
        *("microsoft/Phi-4-mini-instruct", _MIT, 3_836_021_760),
        *("phi3", (3072, 8192, 32, 24, 8, 200064)),
        tied=True,
        pad_token_id=199999,
        sliding_window=262144,
    ),
    _model(
        *("Qwen/Qwen3-4B-Instruct-2507", _APACHE, 4_022_468_096),
        *("qwen3", (2560, 9728, 36, 32, 8, 151936)),
        tied=True,
        head_dim=128,
    ),
    _model(
        *("mistralai/Mistral-7B-Instruct-v0.3", _APACHE, 7_248_023_552),
        *("mistral", (4096, 14336, 32, 32, 8, 32768)),
        tied=False,
        sliding_window=None,
    ),
    _model(
        *("Qwen/Qwen2.5-7B-Instruct", _APACHE, 7_615_616_512),
        *("qwen2", (3584, 18944, 28, 28, 4, 152064)),
        tied=False,
    ),
    _model(
        *("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 Community License", 8_030_261_248),
        *("llama", (4096, 14336, 32, 32, 8, 128256)),
        tied=False,
    ),
    _model(
        *("Qwen/Qwen3-8B", _APACHE, 8_190_735_360),
        *("qwen3", (4096, 12288, 36, 32, 8, 151936)),
        tied=False,
        head_dim=128,
    ),
    _model(
        *("google/gemma-2-9b-it", "Gemma Terms of Use", 9_241_705_984),
        *("gemma2", (3584, 14336, 42, 16, 8, 256000)),
        tied=True,
        head_dim=256,
        sliding_window=4096,
    ),
    _model(
        *("microsoft/phi-4", _MIT, 14_659_507_200),
        *("phi3", (5120, 17920, 40, 40, 10, 100352)),
        tied=False,
        pad_token_id=100349,
        sliding_window=None,
    ),
    _model(
        *("mistralai/Mistral-Small-24B-Instruct-2501", _APACHE, 23_572_403_200),
        *("mistral", (5120, 32768, 40, 32, 8, 131072)),
        tied=False,
        head_dim=128,
        sliding_window=None,
    ),
    _model(
        *("Qwen/Qwen2.5-32B-Instruct", _APACHE, 32_763_876_352),
        *("qwen2", (5120, 27648, 64, 40, 8, 152064)),
        tied=False,
    ),
    _model(
        *("meta-llama/Llama-3.3-70B-Instruct", "Llama 3.3 Community License", 70_553_706_496),
        *("llama", (8192, 28672, 80, 64, 8, 128256)),
        tied=False,
    ),
)
