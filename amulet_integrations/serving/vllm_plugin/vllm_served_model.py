"""The model that vLLM serves, as an engine that prompts are written for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from transformers import AutoTokenizer

from amulet_integrations.errors import ContextLengthError, UnsupportedByEngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.config import VllmConfig

    from amulet_integrations.engine.request import GenerationRequest


@dataclass(frozen=True)
class VLLMServedModel:
    """An `Engine` whose requests are decoded by vLLM's routes, not by itself.

    Attributes:
        model_name: The checkpoint's name.
        fingerprint: The same.
        tokenizer: A tokenizer of its own, with the server's chat template.
        context_window: Most tokens of a prompt and its answer.
        block_size: How many tokens vLLM's cache takes memory for at once.
        cache_blocks: How many of these blocks there are.
        max_rows: Most contexts of a request.
    """

    model_name: str
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase
    context_window: int
    block_size: int
    cache_blocks: int
    max_rows: int

    @classmethod
    def of(cls, config: VllmConfig, chat_template: str | None) -> Self:
        """Describes the model of a server.

        Args:
            config: vLLM's settings, after the model was loaded.
            chat_template: The template of `--chat-template`; None for the model's own.
        """
        model, cache = config.model_config, config.cache_config
        tokenizer = AutoTokenizer.from_pretrained(
            model.tokenizer,
            revision=model.tokenizer_revision,
            trust_remote_code=model.trust_remote_code,
        )
        if chat_template is not None:
            tokenizer.chat_template = chat_template
        return cls(
            model_name=model.model,
            fingerprint=model.model,
            tokenizer=tokenizer,
            context_window=model.max_model_len,
            block_size=cache.block_size,
            cache_blocks=(cache.num_gpu_blocks or 0) - 1,  # vLLM never uses its first block
            max_rows=config.scheduler_config.max_num_seqs,
        )

    def most_new_tokens(self, contexts: Sequence[Sequence[int]], asked: int | None) -> int:
        """How many tokens an answer may have, so that there is room for all of its contexts.

        Args:
            contexts: The contexts.
            asked: How many the client asks for; None where it does not say.

        Raises:
            ContextLengthError: There is no room in the context window, or no memory for so many.
        """
        lengths = [len(ids) for ids in contexts]
        longest = max(lengths)
        room = self.context_window - longest
        if room < 1:
            raise ContextLengthError(
                f"A context of {longest} tokens leaves no room in the context window of "
                f"{self.context_window} tokens. Shorten the conversation or the preferences."
            )
        memory = self.cache_blocks // len(lengths) * self.block_size - longest
        wanted = min(asked or 1, room)
        if memory < wanted:
            raise ContextLengthError(
                f"The request needs memory for {len(lengths)} contexts of up to "
                f"{longest + wanted} tokens, and the server has {self.cache_blocks} blocks of "
                f"{self.block_size}. Ask for fewer tokens, or shorten the conversation.",
                param="max_tokens",
            )
        return min(room, memory)

    def stream(self, _request: GenerationRequest) -> NoReturn:
        """Not here.

        Raises:
            UnsupportedByEngineError: Always: requests come through vLLM's routes.
        """
        self._refuse()

    def astream(self, _request: GenerationRequest) -> NoReturn:
        """Not here; raises as `stream`."""
        self._refuse()

    def generate(self, _requests: Sequence[GenerationRequest]) -> NoReturn:
        """Not here; raises as `stream`."""
        self._refuse()

    async def agenerate(self, _requests: Sequence[GenerationRequest]) -> NoReturn:
        """Not here; raises as `stream`."""
        self._refuse()

    def score(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not here; raises as `stream`."""
        self._refuse()

    def close(self) -> None:
        """Nothing is open."""

    def _refuse(self) -> NoReturn:
        raise UnsupportedByEngineError(
            "vLLM decodes the requests of this server's routes only. Ask by POST "
            "/v1/chat/completions."
        )
