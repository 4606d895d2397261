"""The tokenizer and the chat template for a GGUF file: its own, or those that were named."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from amulet_integrations.engine.backends.given_template import use_given_template
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.errors import ModelNotFoundError

from .gguf_header import read_header
from .gguf_tokenizer import GGUFVocabulary, read_gguf_tokenizer


def gguf_tokenizer(source: ModelSource, path: Path) -> PreTrainedTokenizerBase:
    """Makes the tokenizer of a GGUF file, with the chat template that counts.

    A tokenizer that is named brings its own template; where it has none, the file's counts.

    Raises:
        ModelNotFoundError: There is no tokenizer of the name in `tokenizer_name`.
        InvalidParamsError: `chat_template` is no template.
        UnsupportedModelError: The file's own cannot be read, or is damaged.
    """
    if source.tokenizer_name is None:
        tokenizer = read_gguf_tokenizer(path)
    else:
        GGUFVocabulary.read(path)  # which refuses a damaged one
        tokenizer = _named_tokenizer(source, source.tokenizer_name)
        if not tokenizer.chat_template:
            tokenizer.chat_template = read_header(path).value("tokenizer.chat_template", "") or None
    use_given_template(tokenizer, source.chat_template)
    return tokenizer


def _named_tokenizer(source: ModelSource, name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name,
            local_files_only=source.local_files_only,
            trust_remote_code=source.trust_remote_code,
        )
    except Exception as error:  # damaged files raise any error
        raise ModelNotFoundError(
            f"tokenizer_name={name!r:.200} cannot be loaded. Give a Hugging Face id or a folder "
            f"with tokenizer.json. What transformers says: {' '.join(str(error).split())}"
        ) from error
    return tokenizer
