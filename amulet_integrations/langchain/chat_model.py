"""The chat model.

LangChain starts most of its work late: at the first `next()`, or when a coroutine is awaited. So
every public method here is a plain function that first validates its arguments and decides whose
preferences the call follows, which needs no I/O. The user is looked up before callbacks and the
response cache see the call; on an event loop, by a thread.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Sequence,
)
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import (
    BaseChatModel,
    LangSmithParams,
    LanguageModelInput,
    ModelProfile,
)
from langchain_core.language_models.chat_models import (
    generate_from_stream,
)
from langchain_core.load import dumpd
from langchain_core.load.serializable import SerializedConstructor
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from pydantic import Field, SecretStr

from amulet_integrations.client import AmuletClient
from amulet_integrations.concurrency.bind_context import (
    aclosing_all,
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.structured.structured_output import (
    StructuredMethod,
    StructuredOutput,
)
from amulet_integrations.personalization.call_options import without_unset
from amulet_integrations.personalization.validated_call import ValidatedCall
from amulet_integrations.prompting.openai_compat.openai_tools import (
    ToolChoice,
    check_tools,
    to_tool_use,
)
from amulet_integrations.prompting.prompt_tokenizer import plain_token_ids

from . import wrappers as _wrappers  # noqa: F401 - `bind` and its like return them
from .call_arguments import (
    CALL,
    EVENT_OPTIONS,
    RUN_OPTIONS,
    ChatCall,
    PersonalizedCall,
    check_arguments,
    read_arguments,
)
from .call_config import with_full_concurrency
from .messages import to_chat_messages
from .preparation import CallPreparation
from .serialization import identifying_params, model_profile, serialized_constructor
from .tools import AnySchema, AnyTool, to_openai_tools
from .wrappable import Wrappable

T = TypeVar("T")
Config = RunnableConfig | None


class ChatAmulet(AmuletClient, Wrappable, BaseChatModel):
    """A local language model that answers each user as that user likes.

        llm = ChatAmulet(profiles="sqlite:///profiles.db")
        llm.invoke("What is a black hole?", user_id="ann")

    Whose preferences a call follows is decided once, when a method is called. The first of these
    that names somebody wins:

    1. the call: ``preference=``, ``profile=`` or ``user_id=`` (also by `bind`), or `for_user`;
    2. the config: ``{"configurable": {"user_id": ...}}``, which chains and graphs pass on;
    3. the surrounding `preference_scope`;
    4. the constructor.

    Each of them may also describe the call with ``preference_context={"topic": "health"}``, for
    preferences that have a `when`. These contexts are merged.

    A call also takes ``method``, ``params``, ``stop``, ``timeout`` and the sampling parameters. A
    chain calls the model only when it runs. So where the stream of a chain may be read after its
    scope has ended, name the user in the config.

    The constructor takes the fields of `AmuletConfig`, those of every LangChain chat model
    (``cache``, ``callbacks``, ``rate_limiter`` and so on) and the following.

    Attributes:
        streaming: Whether `invoke` streams to callbacks. False turns streaming off; None, the
            default, leaves it to the caller.
        stream_usage: Whether the last chunk of a stream counts the tokens.
        max_retries: Without effect: there is no network between you and the model.
        api_key: Without effect: a local model needs none.

    Raises:
        UnknownArgumentError: An argument has no meaning here.
        InvalidParamsError: A value is out of its range.
        ModelNotFoundError: There is no such checkpoint.
    """

    # Of two bases pydantic follows the last, and LangChain's drops unknown arguments in silence.
    model_config = AmuletClient.model_config

    streaming: bool | None = None
    stream_usage: bool = True
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)

    def invoke(self, input: LanguageModelInput, config: Config = None, **kwargs: Any) -> AIMessage:
        """As `BaseChatModel.invoke`."""
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return super().invoke(prompt, config, **kwargs)

    def ainvoke(
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Coroutine[Any, Any, AIMessage]:
        """As `BaseChatModel.ainvoke`."""
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return super().ainvoke(prompt, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """As `BaseChatModel.stream`."""
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return super().stream(prompt, config, **self._personalized(kwargs))

    def astream(
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """As `BaseChatModel.astream`."""
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return self._stream_personalized(kwargs, partial(super().astream, prompt, config))

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `BaseChatModel.generate`; `generate_prompt` and `invoke` come through here too."""
        kwargs = self._parse_arguments({**kwargs, "stop": stop}, also=RUN_OPTIONS)
        llm = self._without_cache_if_explained(kwargs)
        return super(ChatAmulet, llm).generate(
            messages, callbacks=callbacks, **self._personalized(kwargs)
        )

    def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate`."""
        kwargs = self._parse_arguments({**kwargs, "stop": stop}, also=RUN_OPTIONS)
        llm = self._without_cache_if_explained(kwargs)
        generate = partial(super(ChatAmulet, llm).agenerate, messages, callbacks=callbacks)
        return self._await_personalized(kwargs, generate)

    def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, LLMResult]:
        """As `BaseChatModel.agenerate_prompt`."""
        messages = [prompt.to_messages() for prompt in prompts]
        return self.agenerate(messages, stop, callbacks, **kwargs)

    def stream_events(
        self,
        input: LanguageModelInput,
        config: Config = None,
        *,
        version: Any = "v2",
        **kwargs: Any,
    ) -> Any:
        """As `BaseChatModel.stream_events`; its version v3 does not come through `stream`."""
        if version == "v3":
            input, kwargs = self._parse_call(input, config, kwargs)  # noqa: A001
            kwargs = self._personalized(kwargs)
        return super().stream_events(input, config, version=version, **kwargs)

    def astream_events(
        self,
        input: LanguageModelInput,
        config: Config = None,
        *,
        version: Any = "v2",
        **kwargs: Any,
    ) -> Any:
        """As `BaseChatModel.astream_events`; its version v3 does not come through `astream`."""
        events: Any = partial(super().astream_events, version=version)
        if version == "v3":
            prompt, kwargs = self._parse_call(input, config, kwargs)
            return self._await_personalized(kwargs, partial(events, prompt, config))
        return events(input, config, **self._parse_arguments(kwargs, config, also=EVENT_OPTIONS))

    def astream_log(self, input: Any, config: Config = None, **kwargs: Any) -> Any:
        """As `Runnable.astream_log`."""
        kwargs = self._parse_arguments(kwargs, config, also=EVENT_OPTIONS)
        return super().astream_log(input, config, **kwargs)

    # Batches have a config for each input, and each input comes through `invoke` or `ainvoke`. So
    # only the context variables of the call have to be kept.

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: Config | list[RunnableConfig] = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As `Runnable.batch`, all inputs together unless the config has a `max_concurrency`."""
        return super().batch(inputs, with_full_concurrency(config, inputs), **kwargs)

    def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: Config | list[RunnableConfig] = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, list[AIMessage]]:
        """As `Runnable.abatch`."""
        # Copies, because the caller may change the configs meanwhile.
        configs = get_config_list(config, len(inputs))
        return bind_coroutine(super().abatch(inputs, configs, **kwargs))

    def batch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: Config | Sequence[RunnableConfig] = None,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """As `Runnable.batch_as_completed`."""
        configs = with_full_concurrency(config, inputs)
        return bind_iterator(super().batch_as_completed(inputs, configs, **kwargs))

    def abatch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: Config | Sequence[RunnableConfig] = None,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `Runnable.abatch_as_completed`."""
        return bind_async_iterator(super().abatch_as_completed(inputs, config, **kwargs))

    def validate(  # type: ignore[override]  # pydantic's deprecated method is another
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> ValidatedCall:
        """Refuses what `invoke` would refuse, and decodes nothing.

        A server can so answer a bad request with an error, before it begins to stream. It looks the
        user up, writes the prompts and compiles the schemas. It loads the model on first use.

        Args:
            input: As in `invoke`.
            config: As in `invoke`.
            kwargs: As in `invoke`.

        Returns:
            Who the answer would be for, how, and how many tokens the prompt has.

        Raises:
            AmuletError: What `invoke` would raise before it decodes.
        """
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return self._preparation(kwargs[CALL]).validate(prompt.to_messages())

    def avalidate(
        self, input: LanguageModelInput, config: Config = None, **kwargs: Any
    ) -> Coroutine[Any, Any, ValidatedCall]:
        """As `validate`, without blocking the event loop."""
        prompt, kwargs = self._parse_call(input, config, kwargs)
        return self._preparation(kwargs[CALL]).avalidate(prompt.to_messages())

    def bind_tools(
        self,
        tools: Sequence[AnyTool],
        *,
        tool_choice: ToolChoice = None,
        parallel_tool_calls: bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A model that may call tools, with arguments that always follow the tools' schemas.

        Args:
            tools: Functions, LangChain tools, types (Pydantic models, dataclasses, NamedTuples,
                TypedDicts), dicts in the form of OpenAI, Anthropic or Bedrock, or JSON schemas
                with a title.
            tool_choice: None or "auto" lets the model choose between text and calls; "any",
                "required" or True makes it call; "none" or False keeps it from calling; the name
                of a tool, or OpenAI's or Anthropic's dict for one, makes it call that tool.
            parallel_tool_calls: Whether one answer may contain several calls. None allows several
                where the model may choose to call, and one where it has to.
            strict: True closes every object in the tools' schemas to names they do not list, asks
                for every property, and refuses what cannot be enforced while decoding. Otherwise
                finished calls are checked for that; those that fail are `invalid_tool_calls`.
            kwargs: Other arguments of a call, such as `user_id` or `response_format`; they are
                bound, too.

        Raises:
            PromptError: A tool describes no function, two different tools have one name, or
                `tool_choice` names no tool.
            UnsupportedGrammarError: A schema that can be neither enforced nor checked.
            UnknownArgumentError: One of `kwargs` means nothing to a call.
        """
        given = {"tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls, **kwargs}
        given = without_unset(given)
        if "user_id" in kwargs:  # None says that nobody is meant
            given["user_id"] = kwargs["user_id"]
        if written := to_openai_tools(tools, strict):
            given["tools"] = written
        bound = self.bind(**check_arguments(self, given))
        return cast("Runnable[LanguageModelInput, AIMessage]", bound)

    def with_structured_output(
        self,
        schema: AnySchema | None = None,
        *,
        method: StructuredMethod = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[AnyTool] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A model whose answers are objects of a schema, enforced while decoding.

        Args:
            schema: A Pydantic model, a dataclass or a NamedTuple (answers are its instances), or a
                TypedDict, a JSON schema or a function in OpenAI's form (answers are dicts). None,
                with `method="json_mode"`, is any JSON object.
            method: "json_schema" writes the schema into the system text. "json_mode" does not, so
                your prompt should describe it. "function_calling" makes it a tool that has to be
                called.
            include_raw: Whether to return ``{"raw", "parsed", "parsing_error"}``.
            strict: As in `bind_tools`.
            tools: With "json_schema", tools that the model may call instead. The result is None
                then; use `include_raw` to see the calls.
            kwargs: Other arguments of a call, such as `user_id` or `steer_strings`; they are bound,
                too. Those that the method sets itself, such as `tool_choice`, are refused.

        Returns:
            A runnable. When it streams, dicts grow, and an instance comes once, whole. Where the
            tokens run out, the object is closed early, so a string in it may break off. Then the
            message, which `include_raw` returns, has ``response_metadata["shortened"]``. Stop
            strings do not cut calls and JSON, which are always complete.

        Raises:
            PromptError: There is no schema, or it describes no object with named fields; `method`
                is unknown, or it sets one of `kwargs` itself.
            UnsupportedGrammarError: A schema that can be neither enforced nor checked; with
                `strict`, one that cannot be enforced while decoding.
        """
        output = StructuredOutput(schema, method, strict)
        wanted = output.arguments_beside(kwargs, has_tools=tools is not None)
        llm = self.bind_tools(output.tools if tools is None else tools, **wanted)
        return output.parse_answers_of(llm, include_raw=include_raw)

    def describe_anew(self, former: AmuletClient) -> None:
        """Describes the model in `profile`, unless that was given and not made from `former`."""
        if self.profile == model_profile(former):
            self.profile = model_profile(self)

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the model's own tokenizer; loads the model."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return plain_token_ids(self.load_engine().tokenizer, text)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """Number of tokens in the prompt of a conversation; loads the model.

        Args:
            messages: Any part of a conversation.
            tools: The tools that the prompt describes.
        """
        described = to_openai_tools(tools or ())
        check_tools(described)
        use = to_tool_use(described)
        return self.personalizer.prompts.count_tokens(
            to_chat_messages(messages), tools=use.tools if use else ()
        )

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Yes; engines, preferences, profiles, stores and keys are left out."""
        return True

    def to_json(self) -> SerializedConstructor:
        """The settings of the model, for `dumpd`; see `serialized_constructor`."""
        return serialized_constructor(self, self.lc_id())

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        stream = self._inner_preparation(kwargs, stop).stream(messages, streams=False)
        return stream.complete(generate_from_stream(stream.chunks()))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        stream = await self._inner_preparation(kwargs, stop).astream(messages, streams=False)
        chunks = [chunk async for chunk in stream.achunks()]
        # Not `agenerate_from_stream`, which does these few milliseconds on a thread of asyncio's.
        return stream.complete(generate_from_stream(iter(chunks)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        stream = self._inner_preparation(kwargs, stop).stream(messages, streams=True)
        with closing(stream.chunks()) as chunks:
            for chunk in chunks:
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
        stream = await self._inner_preparation(kwargs, stop).astream(messages, streams=True)
        chunks = stream.achunks()
        async with aclosing_all(chunks):
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _parse_arguments(
        self, kwargs: dict[str, Any], config: Config = None, also: Collection[str] = ()
    ) -> dict[str, Any]:
        """The arguments with a `ChatCall` among them, parsed unless the caller has done so."""
        if isinstance(kwargs.get(CALL), ChatCall):
            return kwargs
        return read_arguments(self, kwargs, config, also, stream_usage=self.stream_usage)

    def _without_cache_if_explained(self, kwargs: dict[str, Any]) -> Self:
        """The model that answers a call: a cached answer has no explanation, or an old one."""
        explained = kwargs[CALL].arguments.explain
        return self.model_copy(update={"cache": False}) if explained else self

    def _parse_call(
        self, model_input: LanguageModelInput, config: Config, kwargs: dict[str, Any]
    ) -> tuple[PromptValue, dict[str, Any]]:
        """As `_parse_arguments`, with the input converted as well."""
        kwargs = self._parse_arguments(kwargs, config)
        prompt, call = self._convert_input(model_input), kwargs[CALL]
        if call.source is None:
            source = prompt.to_messages()
            call = replace(call, source=source, messages=to_chat_messages(source))
        return prompt, {**kwargs, CALL: call}

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        try:
            return super()._convert_input(model_input)
        except (ValueError, NotImplementedError) as error:
            raise PromptError(f"The input is no conversation: {error}") from error

    def _personalized(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments with the user looked up; may block on the store."""
        return {**kwargs, CALL: self._preparation(kwargs[CALL]).personalized()}

    async def _apersonalized(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """As `_personalized`, without blocking the event loop."""
        return {**kwargs, CALL: await self._preparation(kwargs[CALL]).apersonalized()}

    async def _await_personalized(
        self, kwargs: dict[str, Any], method: Callable[..., Awaitable[T]]
    ) -> T:
        return await method(**await self._apersonalized(kwargs))

    async def _stream_personalized(
        self, kwargs: dict[str, Any], method: Callable[..., AsyncIterator[AIMessageChunk]]
    ) -> AsyncGenerator[AIMessageChunk, None]:
        chunks = method(**await self._apersonalized(kwargs))
        async with aclosing_all(chunks):
            async for chunk in chunks:
                yield chunk

    def _preparation(self, call: ChatCall) -> CallPreparation:
        return CallPreparation(self, call, as_blocks=self.output_version == "v1")

    def _inner_preparation(self, kwargs: dict[str, Any], stop: list[str] | None) -> CallPreparation:
        """The preparation of a call that comes through LangChain's own methods."""
        return self._preparation(self._parse_arguments({**kwargs, "stop": stop})[CALL])

    @property
    def _llm_type(self) -> str:
        return "chat-amulet"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return identifying_params(self)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return model_profile(self)

    @property
    def _serialized(self) -> dict[str, Any]:
        # LangChain keeps it in a cached property, which `for_user` would copy with the old user.
        return cast("dict[str, Any]", dumpd(self))

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The parameters that callbacks are given."""
        if isinstance(call := kwargs.get(CALL), PersonalizedCall):
            kwargs[CALL] = call.personalization.describe()
        params = super()._get_invocation_params(stop=self._stop(stop), **kwargs)
        if (model := kwargs.get("model")) is not None:
            params["engine"] = identifying_params(self.of_model(model))["engine"]
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The cache's key: all settings, those of the call, and a digest of the preferences."""
        params = {**self._get_invocation_params(stop=stop, **kwargs), **kwargs}
        return str(sorted(params.items()))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if "max_new_tokens" in kwargs:
            kwargs["max_tokens"] = kwargs["max_new_tokens"]
        params = super()._get_ls_params(stop=self._stop(stop), **kwargs)
        params["ls_provider"] = "amulet"
        return params

    def _stop(self, stop: list[str] | None) -> list[str]:
        return list(self.stop) if stop is None else stop
