"""What stands in the place of vLLM's answers: the same, over an engine that makes groups.

Streams, tools, reasoning, usage and errors stay vLLM's. It sees one request, that of the context
without preferences, and its tokens are those that were chosen for the whole group.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from copy import copy
from typing import TYPE_CHECKING, Any

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.vllm.sent_request import as_sent_args, check_not_forged

from .completion_reader import ReadBody
from .personal_requests import PersonalRequest, PersonalRequests

if TYPE_CHECKING:
    from fastapi import Request
    from vllm import SamplingParams as VLLMSamplingParams
    from vllm.engine.protocol import EngineClient
    from vllm.outputs import RequestOutput

_SEEDS = 2**63


class GroupAnswers:
    """Answers requests, with preferences where their user has some. Else it is what it stands for.

    Args:
        own: What vLLM answers with.
        requests: Finds the preferences, and writes the contexts.
        read: Reads the requests of this route.
    """

    def __init__(self, own: Any, requests: PersonalRequests, read: ReadBody) -> None:
        self._own = own
        self._requests = requests
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    async def create_chat_completion(self, request: Any, raw_request: Request | None = None) -> Any:
        """Answers a conversation.

        Raises:
            AmuletError: The request cannot be answered as it is.
        """
        own = await self._for(request, raw_request)
        return await own.create_chat_completion(request, raw_request)

    async def create_completion(self, request: Any, raw_request: Request | None = None) -> Any:
        """Continues a prompt; raises as `create_chat_completion`."""
        own = await self._for(request, raw_request)
        return await own.create_completion(request, raw_request)

    async def _for(self, request: Any, raw_request: Request | None) -> Any:
        """What vLLM answers with, over the engine that this request needs."""
        if raw_request is None:  # of a batch that nobody sent
            return self._own
        check_not_forged(request.vllm_xargs)
        found = await self._requests.prepare(request, raw_request, self._read)
        if found is None:
            return self._own
        changed = copy(self._own)
        changed.engine_client = GroupClient(self._own.engine_client, found)
        return changed


class GroupClient:
    """vLLM's engine, for one request that is a group.

    Args:
        engine: vLLM's engine.
        found: The request.
    """

    def __init__(self, engine: EngineClient, found: PersonalRequest) -> None:
        self._engine = engine
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(
        self, _prompt: Any, sampling_params: VLLMSamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """Decodes the group. The arguments are those that vLLM has for the request alone."""
        from vllm.inputs import tokens_input  # noqa: PLC0415

        found = self._found
        params = self._with_group(sampling_params.clone())
        first = tokens_input(
            list(found.request.running_contexts[0]), cache_salt=found.request.cache_salt
        )
        async with aclosing(self._engine.generate(first, params, request_id, **options)) as outputs:
            async for output in outputs:
                yield _without_preferences(output, found.request)

    def _with_group(self, params: VLLMSamplingParams) -> VLLMSamplingParams:
        """Sends the request with its first context, whose token vLLM then takes as it is."""
        found = self._found
        params.max_tokens = min(params.max_tokens or found.most_new_tokens, found.most_new_tokens)
        sampling = SamplingParams(
            max_new_tokens=params.max_tokens,
            min_new_tokens=params.min_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=max(params.top_k, 0),
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            seed=None if params.seed is None else params.seed % _SEEDS,
        )
        ends = () if params.ignore_eos else found.request.end_ids
        request = found.request.model_copy(
            update={
                "sampling": sampling,
                "end_ids": frozenset([*ends, *(params.stop_token_ids or ())]),
            }
        )
        if stop := found.request.sampling.stop:
            params.stop = [*(params.stop or ()), *stop]
        params.temperature, params.top_p, params.top_k, params.min_p = 0.0, 1.0, 0, 0.0
        params.repetition_penalty, params.seed = 1.0, None
        params.extra_args = {**(params.extra_args or {}), **as_sent_args(request)}
        return params


def _without_preferences(output: RequestOutput, request: GenerationRequest) -> RequestOutput:
    """The same, with the prompt without preferences, also where that one is not run."""
    shown = list(request.contexts[0])
    output.prompt_token_ids = shown
    if output.num_cached_tokens is not None:
        output.num_cached_tokens = min(output.num_cached_tokens, len(shown))
    return output
