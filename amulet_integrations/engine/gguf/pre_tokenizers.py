"""How texts are cut into words before byte-level BPE, by GGUF's names of it (`tokenizer.ggml.pre`).

GGUF files name the way and do not hold it. These are the patterns of the families' own tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer as PreTokenizerOf


@dataclass(frozen=True)
class PreTokenizer:
    """How a family cuts texts into words.

    Attributes:
        patterns: Regular expressions. What the first one finds stands alone, the next one cuts
            what is left and what was found, and so on.
        ignore_merges: Whether a word that is a token is this token, whatever its merges say.
        llama_cpp_cuts_marks: Whether llama.cpp, otherwise than the family's own tokenizer, cuts
            words before combining marks, as those of Hindi.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    llama_cpp_cuts_marks: bool = False

    def made(self) -> PreTokenizerOf:
        """The pre-tokenizer, as the library tokenizers has it."""
        splits = [pre_tokenizers.Split(Regex(it), behavior="isolated") for it in self.patterns]
        spelled = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([*splits, spelled])


_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # the endings of English
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_QWEN2 = rf"{_SHORT}|{_WORD}|\p{{N}}|{_SIGNS}"
_LLAMA3 = rf"{_SHORT}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}"
_QWEN35 = (
    rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_CASED = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
_GPT4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}?|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}?"
    rf"|\p{{N}}{{1,3}}|{_CASED}"
)
_TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_CASED}"
_HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_SIGN_AND_WORD = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
_OTHER_WORDS = r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    _HAN_AND_KANA,
    _SIGN_AND_WORD + _OTHER_WORDS + _LINES,
)

_GPT2_WAY = PreTokenizer((_GPT2,))
_DIGITS_WAY = PreTokenizer((r"\p{N}", _GPT2))
_QWEN2_WAY = PreTokenizer((_QWEN2,))
_GPT4O_WAY = PreTokenizer((_GPT4O,), llama_cpp_cuts_marks=True)
_DEEPSEEK3_WAY = PreTokenizer(_DEEPSEEK3)
_LLAMA3_WAY = PreTokenizer((_LLAMA3,), ignore_merges=True)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"), _GPT2_WAY),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"),
        _DIGITS_WAY,
    ),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"), _LLAMA3_WAY),
    **dict.fromkeys(("glm4", "glm5"), _LLAMA3_WAY),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), PreTokenizer((_LLAMA3,))),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "grok-2"), _QWEN2_WAY),
    **dict.fromkeys(("megrez", "solar-open"), _QWEN2_WAY),
    "qwen35": PreTokenizer((_QWEN35,)),
    **dict.fromkeys(("gpt-4o", "llama4", "minimax-m2"), _GPT4O_WAY),
    "tekken": PreTokenizer((_TEKKEN,), ignore_merges=True, llama_cpp_cuts_marks=True),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK3_WAY),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}")
    ),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")),
}
"""What is not here is cut as transformers cuts it."""
