"""What the engine needs of whatever computes logits: a backend, and its cache of rows.

The scheduler, prefill, sampling and grammars use nothing else. A backend that keeps these promises
runs under `LocalEngine`. Its attributes and `cache_tokens` are used from any thread. While the
engine is made, `free_cache_tokens` and `new_cache` are called on the thread that makes it. All
other calls come from the worker thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

SavedPrefix: TypeAlias = object
"""The states of a row's beginning, made by `KVCache.save`. Only the backend looks inside."""


class RowInput(NamedTuple):
    """The tokens that a forward pass appends to one row.

    Attributes:
        row: The row.
        ids: At least one token id.
    """

    row: int
    ids: Sequence[int]


class KVCache(Protocol):
    """The keys and values of several rows, each with a length of its own.

    Rows are numbered from 0 without gaps. Every row begins at the first position.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """The number of tokens that each row holds now; a copy, or the cache's own list."""

    @property
    def tokens(self) -> int:
        """The number of tokens that memory is taken for, whether it is in use or not."""

    @property
    def max_saved(self) -> int | None:
        """The most prefixes that may be saved at once; None where there is no limit."""

    def add(self, rows: int) -> None:
        """Adds empty rows after the others. Rows are added even if an allocation fails."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but the given ones.

        The rows that stay are numbered anew, even if an allocation fails.

        Args:
            rows: The rows to keep, in ascending order.
        """

    def copy(self, source: int, target: int, length: int) -> None:
        """Makes the first `length` tokens of one row the content of another."""

    def merge(self, source: int, target: int, length: int) -> None:
        """Says that the first `length` tokens of two rows are equal: they may share memory."""

    def truncate(self, row: int, length: int) -> None:
        """Takes back the tokens after the first `length`."""

    def clear(self, row: int) -> None:
        """Erases a row that will be dropped: its states may be NaN and must reach no later row."""

    def save(self, row: int, length: int) -> SavedPrefix:
        """Keeps the first `length` tokens of a row, until `Backend.free_prefix` frees them."""

    def load(self, row: int, saved: SavedPrefix, length: int) -> None:
        """Makes the first `length` tokens of what was saved the content of an empty row.

        Where there is no room for it, or computing them takes less time, the row may stay empty.
        """

    def close(self) -> None:
        """Frees all rows. The cache is not used any more."""


class ModelDescription(Protocol):
    """What is known of a model before anything is computed with it."""

    @property
    def model_name(self) -> str:
        """The checkpoint's name."""

    @property
    def fingerprint(self) -> str:
        """Equal for backends that give equal answers; part of the keys of caches."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""

    @property
    def device(self) -> torch.device:
        """The device of the logits, on which tokens are sampled."""

    @property
    def context_window(self) -> int:
        """The most tokens of a row."""

    @property
    def vocab_size(self) -> int:
        """The number of token ids that a row may hold."""

    @property
    def logits_size(self) -> int:
        """The number of logits at a position. It may differ from `vocab_size`."""

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text; one of them may end a turn (see `decoding.turn_end`)."""

    def cache_tokens(self, lengths: Sequence[int]) -> int:
        """Computes `KVCache.tokens` of rows that may become so long, at most."""


@runtime_checkable
class Backend(ModelDescription, Protocol):
    """Computes the logits of many rows at once.

    Logits are float tensors on `device`. Everything else about the model is the backend's own.
    """

    @property
    def max_decode_tokens(self) -> int:
        """The most tokens of a decode pass, drafts included, that take little longer than one."""

    @property
    def default_prefill_tokens(self) -> int:
        """The default of `EngineLimits.max_prefill_tokens`."""

    @property
    def pads_inputs(self) -> bool:
        """Whether a pass takes as long as if all of its inputs were as long as the longest."""

    @property
    def max_rows(self) -> int | None:
        """The most rows that a cache can have; None where there is no limit."""

    @property
    def logits_tolerance(self) -> float:
        """How far a logit may move with what else is in its pass, or was before.

        Kernels round differently for other shapes of a pass, for a prompt in other chunks, and for
        a prefix that was kept. A request's greedy tokens are the same alone and in company for as
        long as the two best tokens of its policy are farther apart than this moves them: by twice
        as much, times the sum of the weights' amounts.
        """

    def free_cache_tokens(self) -> int:
        """Estimates how many tokens' keys and values fit into the memory that is free now."""

    def new_cache(self, max_rows: int, max_tokens: int) -> KVCache:
        """Makes a cache without rows.

        Args:
            max_rows: The most rows that it will have at once.
            max_tokens: The most tokens that it will hold, counted as by `cache_tokens`; those of
                saved prefixes are among them.
        """

    def forward(
        self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int = 1
    ) -> torch.Tensor:
        """Appends tokens to rows and computes the logits of the last positions.

        Args:
            cache: A cache of this backend. If the pass raises, its rows are as long as before.
            inputs: The tokens for each row that takes part, in ascending order of rows.
            logits_to_keep: For how many positions at the end of each input logits are wanted.

        Returns:
            Logits, shape (inputs, positions, `logits_size`). The last position is that of the
            last token. `positions` is `logits_to_keep`, or fewer if every input is shorter; the
            logits of a shorter input stand at the end.
        """

    def decode(
        self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int
    ) -> torch.Tensor:
        """Does what `forward` does, for the running requests of a step.

        A backend may replay work that it has recorded. The logits are valid until the next call of
        `forward` or `decode`.
        """

    def free_prefix(self, saved: SavedPrefix) -> None:
        """Frees what `KVCache.save` returned. It is not loaded any more."""

    def drop_graphs(self) -> bool:
        """Frees recorded decode steps, such as CUDA graphs; returns whether there were any."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error means that an allocation failed."""

    def free_memory(self) -> None:
        """Returns unused memory to the device after an allocation failed."""

    def model_fingerprint(self) -> str:
        """Computes what is equal for equal weights, whatever the checkpoint is called."""

    def release(self) -> None:
        """Frees the model. Nothing is computed any more."""
