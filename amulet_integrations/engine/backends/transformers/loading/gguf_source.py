"""GGUF files as checkpoints of transformers, which computes with them in full numbers."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from amulet_integrations.engine.gguf.gguf_check import check_model_file
from amulet_integrations.engine.gguf.gguf_header import read_header
from amulet_integrations.engine.gguf.gguf_location import locate_gguf
from amulet_integrations.engine.gguf.split_files import part_files
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.errors import UnsupportedModelError
from amulet_integrations.installation import install_command

logger = logging.getLogger(__name__)

_LLAMA_CPP = "llama.cpp may: install the extra llama-cpp, and use backend='llama_cpp'."


def gguf_checkpoint(source: ModelSource) -> Path:
    """The file that a source names, which transformers may read.

    Raises:
        ModelNotFoundError: There is no such file.
        UnsupportedModelError: It is damaged, holds no language model, or is one of several parts.
        MissingDependencyError: The package gguf is not installed.
    """
    header = check_model_file(locate_gguf(source))
    if part_files(header)[1:]:
        raise UnsupportedModelError(
            f"{header.path} is one of {len(part_files(header))} parts of a model, and transformers "
            f"reads whole files. Join them: llama-gguf-split --merge. {_LLAMA_CPP}"
        )
    return header.path


def warn_of_full_numbers(source: ModelSource, file: Path) -> None:
    """Logs what a file takes that transformers runs because llama.cpp is not installed."""
    if source.backend == "auto" and not source.asks_for_transformers:
        numbers = sum(tensor.elements for tensor in read_header(file).tensors.values())
        logger.warning(
            "llama-cpp-python is not installed, so transformers runs %s in full numbers: %d "
            "million weights, up to %d MB. With llama.cpp it takes %d MB: %s",
            file,
            numbers // 10**6,
            numbers * 4 >> 20,
            file.stat().st_size >> 20,
            install_command("llama-cpp"),
        )


def load_gguf_config(source: ModelSource) -> PreTrainedConfig:
    """Reads a file's config, and refuses families that transformers does not read from GGUF.

    Raises:
        AmuletError: As `gguf_checkpoint`.
        UnsupportedModelError: transformers does not know the family.
    """
    file = gguf_checkpoint(source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # whatever is wrong with the metadata
        raise unread(source, error) from error
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedModelError(
            f"model={source.model!r:.200} is a {config.model_type}, not a decoder-only language "
            "model."
        )
    return config


def unread(source: ModelSource, error: Exception) -> UnsupportedModelError:
    """The error for a file that transformers cannot read."""
    return UnsupportedModelError(
        f"model={source.model!r:.200}: transformers cannot read this GGUF file: "
        f"{' '.join(str(error).split())} {_LLAMA_CPP}"
    )
