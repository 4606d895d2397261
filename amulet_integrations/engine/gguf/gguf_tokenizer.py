"""The tokenizer that a GGUF file describes, as a tokenizer of transformers.

A byte-level vocabulary whose way to cut texts is known is taken as the file has it. Others are read
by transformers, whose result is set right where it does not know what the file says.
`tokenizer_check` compares the result with llama.cpp's own tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from amulet_integrations.errors import UnsupportedModelError

from .gguf_header import GGUFArray, GGUFHeader, read_header
from .pre_tokenizers import PRE_TOKENIZERS, PreTokenizer

_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_MERGES = "tokenizer.ggml.merges"
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
_NAMED_TOKENS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_SPACE = "▁"
NAME_ANOTHER = (
    "Name a tokenizer that is right, by its Hugging Face id or folder: "
    "tokenizer_name='owner/model' of the checkpoint that the file was made from."
)


@dataclass(frozen=True)
class GGUFVocabulary:
    """What a GGUF file says of its tokens.

    Attributes:
        kind: `tokenizer.ggml.model`: "gpt2" is byte-level BPE, "llama" is SentencePiece.
        pre: `tokenizer.ggml.pre`; "" where it names none.
        prefixes_space: Whether a space is put before a text.
        tokens: The tokens, by id.
        types: Their types, by id.
        merges: The pairs that are merged, each "one other", the first first.
        named: The tokens that have names in transformers, by these.
        adds_bos: Whether a text begins with the token for that.
        chat_template: The chat template; None where there is none.
    """

    kind: str
    pre: str
    prefixes_space: bool
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    named: Mapping[str, str]
    adds_bos: bool
    chat_template: str | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads it from a file.

        Raises:
            ModelError: As `read_header`.
            UnsupportedModelError: Two tokens are one, with which llama.cpp would end the process.
        """
        header = read_header(path, arrays=(_TOKENS, _TYPES, _MERGES))
        tokens = [str(token) for token in _values(header, _TOKENS)]
        _check_tokens(path, tokens)
        keys = {name: f"tokenizer.ggml.{key}" for name, key in _NAMED_TOKENS.items()}
        ids = {name: header.value(key, -1) for name, key in keys.items()}
        return cls(
            kind=header.value("tokenizer.ggml.model", ""),
            pre=header.value("tokenizer.ggml.pre", ""),
            prefixes_space=header.value("tokenizer.ggml.add_space_prefix", default=True),
            tokens=tokens,
            types=[int(kind) for kind in _values(header, _TYPES)],
            merges=[str(pair) for pair in _values(header, _MERGES)],
            named={name: tokens[it] for name, it in ids.items() if 0 <= it < len(tokens)},
            adds_bos=header.value("tokenizer.ggml.add_bos_token", default=False),
            chat_template=header.value("tokenizer.chat_template", "") or None,
        )

    def markers(self) -> Iterator[tuple[int, str, bool]]:
        """Yields tokens that stand for themselves in a text: id, text, and whether for control."""
        for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=False)):
            if kind in {_CONTROL, _USER_DEFINED} and token:
                yield token_id, token, kind == _CONTROL


def read_gguf_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Makes the tokenizer of a GGUF file, with its chat template.

    Args:
        path: A file that `check_model_file` has let pass; of a model in parts, the first.

    Raises:
        UnsupportedModelError: It is of a kind that cannot be read.
    """
    vocabulary = GGUFVocabulary.read(path)
    try:
        way = PRE_TOKENIZERS.get(vocabulary.pre) if vocabulary.kind == "gpt2" else None
        if way is not None and vocabulary.merges:
            tokenizer = _byte_level(vocabulary, way)
        else:
            tokenizer = _read_by_transformers(path, vocabulary)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            chat_template=vocabulary.chat_template,
            clean_up_tokenization_spaces=False,
            add_bos_token=vocabulary.adds_bos and "bos_token" in vocabulary.named,
            **dict.fromkeys(_NAMED_TOKENS) | dict(vocabulary.named),
        )
    except Exception as error:  # whatever is wrong with the metadata
        raise UnsupportedModelError(
            f"The tokenizer in {path} ({vocabulary.kind!r:.80}, {vocabulary.pre!r:.80}) cannot be "
            f"read: {error}. {NAME_ANOTHER}"
        ) from error


def _values(header: GGUFHeader, key: str) -> Sequence[str | int | float | bool]:
    array = header.metadata.get(key)
    return array.values if isinstance(array, GGUFArray) else ()


def _check_tokens(path: Path, tokens: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for token_id, token in enumerate(tokens):
        name = token.partition("\0")[0]  # where llama.cpp's strings end
        first = seen.setdefault(name, token_id)
        if name and first != token_id:
            raise UnsupportedModelError(
                f"{path} is a damaged GGUF file: its tokens {first:,} and {token_id:,} are both "
                f"{name!r:.80}. Download or convert it again."
            )


def _byte_level(vocabulary: GGUFVocabulary, way: PreTokenizer) -> Tokenizer:
    """The tokenizer of a byte-level vocabulary, which GGUF has as the library tokenizers has it."""
    kinds = [*vocabulary.types, *(0 for _ in vocabulary.tokens[len(vocabulary.types) :])]
    ids = {
        token: token_id
        for token_id, (token, kind) in enumerate(zip(vocabulary.tokens, kinds, strict=False))
        if kind != _UNUSED  # which fill the model's table up, and are written as nothing
    }
    pairs = [tuple(pair.split(" ", 1)) for pair in vocabulary.merges]
    merges = [(one, other) for one, other in pairs if one + other in ids]
    tokenizer = Tokenizer(BPE(vocab=ids, merges=merges, ignore_merges=way.ignore_merges))
    tokenizer.pre_tokenizer = way.made()
    tokenizer.decoder = decoders.ByteLevel()
    _add_markers(tokenizer, vocabulary)
    return tokenizer


def _read_by_transformers(path: Path, vocabulary: GGUFVocabulary) -> Tokenizer:
    found = PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
    described: dict[str, Any] = json.loads(found.backend_tokenizer.to_str())
    described["added_tokens"] = []
    described["post_processor"] = None
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(described))
    if vocabulary.kind == "llama" and vocabulary.prefixes_space:
        # As llama.cpp: also before a text that begins with a space.
        spaces = [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
        tokenizer.normalizer = normalizers.Sequence(spaces)
        tokenizer.pre_tokenizer = None
    _add_markers(tokenizer, vocabulary)
    return tokenizer


def _add_markers(tokenizer: Tokenizer, vocabulary: GGUFVocabulary) -> None:
    """Makes the tokens that stand for themselves be found in texts, before these are cut."""
    added = [
        AddedToken(token, normalized=False, special=is_control)
        for _, token, is_control in vocabulary.markers()
    ]
    tokenizer.add_tokens(added)
