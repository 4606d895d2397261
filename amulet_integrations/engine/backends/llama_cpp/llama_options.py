"""How llama.cpp loads a model and computes with it: its own options, by its own names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError

KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
SplitMode = Literal["none", "layer", "row"]
RopeScaling = Literal["none", "linear", "yarn", "longrope"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "type_k": get_args(KVType),
    "type_v": get_args(KVType),
    "split_mode": get_args(SplitMode),
    "rope_scaling_type": get_args(RopeScaling),
}
_LEAST = {
    "n_gpu_layers": -1,
    "main_gpu": 0,
    "n_ctx": 0,
    "n_batch": 32,
    "n_ubatch": 1,
    "n_threads": 1,
    "n_threads_batch": 1,
    "yarn_orig_ctx": 0,
}
_MOST = 2**31 - 1
_FLOATS = (
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
)
_SWITCHES = (
    "use_mmap",
    "use_mlock",
    "check_tensors",
    "use_extra_bufts",
    "flash_attn",
    "offload_kqv",
    "op_offload",
)
_UNSCALED = frozenset({"f32", "f16", "bf16"})
_OURS = {
    "n_seq_max": "The engine has a sequence for each row: set max_rows.",
    "kv_unified": "The rows of the engine share one cache, so it is always on.",
    "swa_full": "Rows are cut and share their beginnings, so it is always on.",
    "embeddings": "The engine decodes text.",
    "logits_all": "The engine asks for the logits that it needs.",
    "vocab_only": "The engine decodes text.",
    "verbose": "llama.cpp's messages go to the logger of this package, at level DEBUG.",
    "seed": "Give it to the call, or in SamplingParams.",
}


@dataclass(frozen=True)
class LlamaCppOptions:
    """Options of llama.cpp. None, and 0 for `n_ctx`, leave the choice to llama.cpp or the model.

    The number of rows and the memory for keys and values are limits of the engine: `max_rows` and
    `max_cache_tokens`.

    Attributes:
        n_gpu_layers: How many layers are kept on GPUs, where llama.cpp was built for them; -1 for
            all.
        split_mode: How a model is spread over several GPUs.
        main_gpu: The GPU that holds the whole model with `split_mode="none"`.
        tensor_split: The share of the model that each GPU holds.
        use_mmap: Whether the file is mapped into memory instead of being read; None lets llama.cpp
            decide.
        use_mlock: Whether the weights are kept from being swapped out.
        check_tensors: Whether the values of all weights are checked while they are loaded.
        use_extra_bufts: Whether weights are laid out anew for the processor, where that is faster.
        n_ctx: The context window: the most tokens of one row. 0 for what the model was trained
            with; a longer one needs `rope_scaling_type`. Of models with two sets of rotary factors
            (longrope), 0 is for the window of the short set, and a longer one takes the long set
            for all texts.
        n_batch: The most tokens that one call computes.
        n_ubatch: The most tokens that are computed at once.
        n_threads: The threads of a step of few tokens. None for as many as torch uses.
        n_threads_batch: The threads that read prompts. None for `n_threads`.
        rope_scaling_type: How positions past the trained window are computed.
        rope_freq_base: The base of the rotary frequencies.
        rope_freq_scale: The factor of the rotary frequencies.
        yarn_ext_factor: The share of extrapolation in YaRN.
        yarn_attn_factor: The scale of attention in YaRN.
        yarn_beta_fast: The lower correction of YaRN.
        yarn_beta_slow: The upper correction of YaRN.
        yarn_orig_ctx: The window that YaRN extends.
        flash_attn: Whether flash attention is used; None where it is supported.
        type_k: The type of the keys that are held.
        type_v: The type of the values that are held; a quantized one needs flash attention.
        offload_kqv: Whether keys and values are held on the GPU.
        op_offload: Whether large products of weights in main memory are computed on the GPU.

    Raises:
        InvalidParamsError: A value has another type, or is out of its range.
    """

    n_gpu_layers: int = -1
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    tensor_split: Sequence[float] | None = None
    use_mmap: bool | None = None
    use_mlock: bool = False
    check_tensors: bool = False
    use_extra_bufts: bool = True
    n_ctx: int = 0
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int | None = None
    n_threads_batch: int | None = None
    rope_scaling_type: RopeScaling | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    yarn_orig_ctx: int | None = None
    flash_attn: bool | None = None
    type_k: KVType = "f16"
    type_v: KVType = "f16"
    offload_kqv: bool = True
    op_offload: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if problem := _problem(field.name, value):
                raise InvalidParamsError(f"{field.name}={value!r:.80}: {problem}", param=field.name)
        if self.n_ubatch > self.n_batch:
            raise InvalidParamsError(
                f"n_ubatch={self.n_ubatch} is more than n_batch={self.n_batch}: the tokens of a "
                "call are computed n_ubatch at a time. Lower the one or raise the other.",
                param="n_ubatch",
            )
        if self.flash_attn is False and self.type_v not in _UNSCALED:
            raise InvalidParamsError(
                f"type_v={self.type_v!r} needs flash attention. Leave flash_attn out, or use "
                "type_v='f16'.",
                param="type_v",
            )
        if self.tensor_split is not None:
            object.__setattr__(self, "tensor_split", tuple(self.tensor_split))

    def context_window(self, file: str, trained: int, short: int | None = None) -> int:
        """Most tokens of prompt and completion: `n_ctx`, or what the model was made for.

        Args:
            file: The model's file, for the message of an error.
            trained: The tokens that the model was trained with.
            short: Up to where its short set of longrope factors is for; None for other models.

        Raises:
            InvalidParamsError: `n_ctx` is past `trained`, and positions are not scaled.
        """
        if self.n_ctx > trained and self.rope_scaling_type in {None, "none"}:
            raise InvalidParamsError(
                f"n_ctx={self.n_ctx:,} is past the {trained:,} tokens that {file} was trained "
                "with. Lower it, or say with rope_scaling_type how positions are scaled.",
                param="n_ctx",
            )
        return self.n_ctx or (trained if short is None else short)

    @classmethod
    def read(cls, options: Mapping[str, Any], owner: str = "llama.cpp") -> Self:
        """Makes the options of named values.

        Args:
            options: The values.
            owner: What takes them, for the message of an error.

        Raises:
            UnknownArgumentError: There is no such option, or the engine decides about it.
            InvalidParamsError: As the class.
        """
        known = {field.name for field in fields(cls)}
        for name in _OURS.keys() & options.keys():
            raise UnknownArgumentError(f"{owner} does not take {name!r}. {_OURS[name]}", param=name)
        if unknown := options.keys() - known:
            raise UnknownArgumentError.for_names(owner, unknown, known)
        return cls(**options)


def _problem(name: str, value: object) -> str | None:
    """Says what a value should be; None if it is right."""
    if name in _CHOICES:
        choices = _CHOICES[name]
        return None if value in choices else f"give one of {', '.join(map(repr, choices))}."
    if name in _LEAST:
        least = _LEAST[name]
        right = type(value) is int and least <= value <= _MOST
        return None if right else f"give a whole number, {least} or more."
    if name in _SWITCHES:
        return None if isinstance(value, bool) else "give True or False."
    if name in _FLOATS:
        return None if _is_finite(value) else "give a finite number."
    right = (
        isinstance(value, list | tuple)
        and all(_is_finite(share) and share >= 0 for share in value)
        and sum(value) > 0
    )
    return None if right else "give a list of numbers of at least 0, one for each GPU."


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
