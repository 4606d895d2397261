"""The chat model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import (
    agenerate_from_stream,
    generate_from_stream,
)
from langchain_core.load import dumpd
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from pydantic import Field, SecretStr

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.answers import to_chunk
from amulet_integrations.langchain.entries import PERSONALIZATION, PersonalizedEntries
from amulet_integrations.langchain.messages import to_chat_messages
from amulet_integrations.personalizer import Personalization, Personalizer


class ChatAmulet(PersonalizedEntries):
    """A local language model that answers each user as that user likes.

        llm = ChatAmulet(profiles="sqlite:///profiles.db")
        llm.invoke("What is a black hole?", user_id="ann")

    Whose preferences hold is settled once, when a method is called. The first of these that names
    somebody wins:

    1. the call: ``preference=``, ``profile=`` or ``user_id=`` (also by `bind`), or `for_user`;
    2. the config: ``{"configurable": {"user_id": ...}}``, which chains and graphs hand on;
    3. the surrounding `preference_scope`;
    4. the constructor.

    A call takes ``method``, ``params``, ``stop``, ``timeout`` and the sampling parameters too. A
    chain or a binding reaches the model only when it runs: where its stream may be read outside of
    the scope in which it was asked for, name the user in the config.

    The constructor takes the fields of `AmuletSettings`, those of every LangChain chat model
    (``cache``, ``callbacks``, ``rate_limiter`` and so on) and the following.

    Attributes:
        streaming: Whether `invoke` streams to callbacks. False, where given, turns streaming off.
        max_retries: Without effect: there is no network between you and the model.
        api_key: Without effect: nobody asks for one.

    Raises:
        UnknownArgumentError: An argument has no meaning here.
        InvalidParamsError: A value is out of its range.
        ModelNotFoundError: There is no such checkpoint.
    """

    streaming: bool = False
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - tokens are not told
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        personalizer, kwargs = self._ready(self._selected(kwargs))
        request, facts = self._request(messages, stop, kwargs), self._facts(kwargs)
        with closing(personalizer.stream(**request)) as increments:
            for increment in increments:
                if chunk := to_chunk(increment, facts):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        personalizer, kwargs = await asyncio.to_thread(self._ready, self._selected(kwargs))
        request, facts = self._request(messages, stop, kwargs), self._facts(kwargs)
        async with aclosing(personalizer.astream(**request)) as increments:
            async for increment in increments:
                if chunk := to_chunk(increment, facts):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    def _ready(self, selected: dict[str, Any]) -> tuple[Personalizer, dict[str, Any]]:
        """What decodes and with what; the user is looked up where no public method has done so."""
        return self.personalizer, self._resolved(selected)

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        call = self._read_call(kwargs, stop)
        return {
            "messages": to_chat_messages(messages),
            "personalization": kwargs[PERSONALIZATION],
            "sampling": call.sampling,
            "timeout": call.timeout,
        }

    def _facts(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        personalization: Personalization = kwargs[PERSONALIZATION]
        return {
            "model_name": self.model,
            "amulet": personalization.describe(texts=self.include_preference_text),
        }

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        try:
            return super()._convert_input(model_input)
        except (ValueError, NotImplementedError) as error:
            raise PromptError(f"The input is no conversation: {error}") from error

    # Who this model is, to caches, tracers and people.

    @property
    def _llm_type(self) -> str:
        return "chat-amulet"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Every setting that shapes answers, and no text of a preference."""
        return {
            "model": self.model,
            "engine": self.engine.fingerprint if self.engine else self.source.key,
            "method": self.method,
            "params": self.params.model_dump(),
            "linear_alignment_ratio": self.linear_alignment_ratio,
            "separator": self.separator,
            "include_preference_text": self.include_preference_text,
            **self.sampling.model_dump(mode="json"),
        }

    @property
    def _serialized(self) -> dict[str, Any]:
        # LangChain keeps it in a cached property, which `for_user` would copy with the old user.
        return cast("dict[str, Any]", dumpd(self))

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What callbacks are told; the cache's key adds the personalization itself to it."""
        kwargs = dict(kwargs)
        if isinstance(personalization := kwargs.get(PERSONALIZATION), Personalization):
            kwargs[PERSONALIZATION] = personalization.describe()
        return super()._get_invocation_params(stop=self._stop(stop), **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if "max_new_tokens" in kwargs:
            kwargs["max_tokens"] = kwargs["max_new_tokens"]
        params = super()._get_ls_params(stop=self._stop(stop), **kwargs)
        params["ls_provider"] = "amulet"
        return params

    def _stop(self, stop: list[str] | None) -> list[str]:
        return list(self.stop) if stop is None else stop

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the model's own tokenizer; loads the model."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        tokenizer = self.load_engine().tokenizer
        return cast("list[int]", tokenizer.encode(text, add_special_tokens=False))
