"""From what was sent to a group: the request is read, checked, and its grammars are compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.request_validator import RequestValidator
from amulet_integrations.engine.structured.grammar import GrammarCompiler

from .groups import Group
from .sent_request import read_sent

if TYPE_CHECKING:
    from vllm import SamplingParams

    from .vllm_model import VLLMModel


class GroupMaker:
    """Makes groups. May be used from any thread.

    Args:
        model: What is known of the model.
        max_rows: Most contexts of a group.
    """

    def __init__(self, model: VLLMModel, max_rows: int) -> None:
        limits = EngineLimits(
            max_rows=max_rows,
            max_cache_tokens=model.cache_blocks * model.block_size,
            prompt_lookup_num_tokens=0,
        )
        endless = replace(model, end_ids=frozenset())
        grammars = GrammarCompiler(model.tokenizer, model.logits_size, model.end_ids)
        self._ending = RequestValidator(model, limits, grammars)
        self._endless = RequestValidator(endless, limits, grammars)

    def make(self, first_id: str, sent: bytes, params: SamplingParams) -> Group:
        """Makes the group of a request.

        Args:
            first_id: The name of the vLLM request of its first context.
            sent: The request, as it was sent.
            params: The parameters of that vLLM request.

        Raises:
            AmuletError: The request cannot be decoded as it is.
        """
        validator = self._endless if params.ignore_eos else self._ending
        # vLLM hands out the tokens, so nobody waits for increments.
        sequence = validator.process(read_sent(sent), lambda _: None)
        masks = (params.structured_outputs, params.allowed_token_ids, params.bad_words)
        is_masked = any(masks) or params.min_tokens > 0
        return Group(sequence, first_id=first_id, is_masked=is_masked)
