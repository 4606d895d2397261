"""How much an engine takes on at once, and how much it does now."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

from amulet_integrations.errors import InvalidParamsError

if TYPE_CHECKING:
    from amulet_integrations.engine.backends.base import Backend

_MAY_BE_ZERO = ("max_prefix_tokens", "prompt_lookup_num_tokens", "max_waiting")
_DEFAULT_PREFIX_TOKENS = 16_384


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of memory, of waiting, and of how long running streams are held up.

    Attributes:
        max_rows: Most contexts that are decoded at once, of all requests together. Further requests
            wait. A request that has more by itself is refused with `InvalidRequestError`.
        max_waiting: Most requests in the queue; one more is refused with `EngineOverloadedError`.
        max_prefill_tokens: Most prompt tokens computed in one step, padding included. Running
            streams wait no longer than that takes. The default is the backend's; of transformers
            models, 256 on the CPU and 4096 elsewhere; on llama.cpp, 256 and 2048.
        max_cache_tokens: Most tokens whose keys and values are held. Each row counts as much
            as the longest one with its whole completion; on llama.cpp, as much as itself. Requests
            beyond it wait. The default is what half of the free memory holds; on CUDA, four fifths;
            on llama.cpp, which takes the memory at once, 32,768 or what a quarter of it holds.
        max_prefix_tokens: Most tokens of ended requests whose keys and values are kept, so that
            texts that begin alike are not computed again. They are part of `max_cache_tokens`
            and are dropped where requests need the memory. 0 keeps nothing. The default is
            16,384, or a quarter of `max_cache_tokens` where that is less.
        prompt_lookup_num_tokens: Most tokens of a draft that is copied from the prompt and
            verified in one pass (the name is that of transformers); 0 for no drafts.

    Raises:
        InvalidParamsError: A limit is not a whole number of at least 1 (0 where 0 has a meaning).
    """

    max_rows: int = 64
    max_waiting: int = 4096
    max_prefill_tokens: int | None = None
    max_cache_tokens: int | None = None
    max_prefix_tokens: int | None = None
    prompt_lookup_num_tokens: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            least = 0 if field.name in _MAY_BE_ZERO else 1
            unset = limit is None and field.default is None
            if not unset and (type(limit) is not int or limit < least):
                raise InvalidParamsError(
                    f"{field.name}={limit!r}: give a whole number, {least} or more."
                )

    def with_defaults(self, backend: Backend) -> Self:
        """Returns the same limits with every default filled in for a backend.

        Raises:
            InvalidParamsError: The backend has no so many rows.
        """
        if backend.max_rows is not None and self.max_rows > backend.max_rows:
            raise InvalidParamsError(
                f"max_rows={self.max_rows} is more than the {backend.max_rows} rows that "
                f"{type(backend).__name__} can have. Lower it.",
                param="max_rows",
            )
        tokens = self.max_cache_tokens or backend.free_cache_tokens()
        prefixes = self.max_prefix_tokens
        if prefixes is None:
            prefixes = min(_DEFAULT_PREFIX_TOKENS, tokens // 4)
        return replace(
            self,
            max_prefill_tokens=self.max_prefill_tokens or backend.default_prefill_tokens,
            max_cache_tokens=tokens,
            max_prefix_tokens=prefixes,
        )


@dataclass(frozen=True)
class EngineStats:
    """What an engine does at a moment.

    Attributes:
        running: Requests that are being decoded.
        prefilling: Requests whose prompts are being computed.
        waiting: Requests in the queue.
        prefix_tokens: Tokens of ended requests whose keys and values are kept.
    """

    running: int
    prefilling: int
    waiting: int
    prefix_tokens: int

    @property
    def is_idle(self) -> bool:
        """Whether there is no request."""
        return not (self.running or self.prefilling or self.waiting)
