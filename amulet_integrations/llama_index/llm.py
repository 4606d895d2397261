"""`AmuletLLM`: LlamaIndex's interface of a language model, decoded for the user who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from llama_index.core.types import Model, TokenAsyncGen, TokenGen
from pydantic import BaseModel, Field, computed_field, field_serializer, model_validator

from amulet_integrations.concurrency.bind_context import bind_coroutine
from amulet_integrations.errors import NoToolCallError, PromptError
from amulet_integrations.personalization.validated_call import ValidatedCall
from amulet_integrations.prompting.openai_compat.openai_tools import ToolChoice

from .cache_identity import cache_identity
from .client_llm import ClientLLM
from .instrumentation import install_stream_binder
from .llm_call import (
    CHAT,
    COMPLETION,
    LLMCall,
    conversation_of_messages,
    conversation_of_prompt,
    writes_whole_prompts,
)
from .messages import user_message
from .predictions import bind_parser_format, bind_preferences, raises_answer_errors
from .prompt_helper import DEFAULT_PREFERENCE_TOKENS, ModelPromptHelper
from .streaming import Coro
from .structured import AsyncObjects, Objects, StructuredPrediction, check_output_class
from .structured_llm import AmuletStructuredLLM
from .tools import callable_tools, chat_tool_options, react_defaults, tool_selections

if TYPE_CHECKING:
    from llama_index.core.chat_engine.types import AgentChatResponse


class AmuletLLM(ClientLLM):
    """A local model for LlamaIndex whose answers follow the preferences of the user who asks.

        llm = AmuletLLM(profiles="sqlite:///profiles.db")
        with preference_scope(user_id="ann"):
            query_engine.query("What is new?")

    It is a `CustomLLM` and a `FunctionCallingLLM`: it completes, chats, calls tools and predicts
    objects, each at once or as a stream, sync or async.

    A call follows the preferences that are named by the call (`preference=`, `profile=` or
    `user_id=`) or by `for_user`, else by the surrounding `preference_scope`, else by the
    constructor. The user is resolved when a method is called, so a stream follows the preferences
    of the user who asked for it, wherever it is read. This holds for the streams of query engines
    and chat engines as well. `plain` returns a copy that follows no preferences, for work that no
    user reads.

    Texts of preferences reach no callback, event or span, and none of the forms to which LlamaIndex
    serialises components. A pickle contains them.

    Every method takes the keyword arguments `preference`, `profile`, `user_id`,
    `preference_context`, `params` and `method`, and for this call `temperature`, `max_tokens`,
    `min_new_tokens`, `top_p`, `top_k`, `min_p`, `repetition_penalty`, `seed`, `stop`, `timeout` and
    `chat_template_kwargs`; `response_format` (a type of objects, such as a Pydantic model, a
    dataclass, a NamedTuple or a TypedDict, or a dict in OpenAI's form) for
    JSON that follows a schema, with `steer_strings`; and `logprobs` with `top_logprobs`. Chats take
    `tools`, `tool_choice` and `parallel_tool_calls` as well. Other arguments are refused. Methods
    that fill in a prompt take those that select preferences, where the prompt has no variables of
    these names.

    `complete` asks through the model's chat template, as one user message, unless `formatted=True`
    declares the prompt to be whole. With `messages_to_prompt` or `completion_to_prompt` the caller
    writes whole prompts as well. In a whole prompt control tokens have their effect, and
    preferences stand in front of it, as plain text before `separator`. Tools and response formats
    need the chat template.

    Tool calls always follow the tools' schemas. The context without preferences decides whether
    tools are called and writes the calls: no preference causes, prevents or changes a call.

    The `raw` of a response (of the last one of a stream) has `finish_reason`, `usage`, `model`, and
    in `amulet` what was applied; `shortened` where JSON was closed early because the tokens ran
    out.

    Args:
        **data: The fields of `AmuletConfig` (with `profile` for a profile), and those of
            LlamaIndex's `LLM`: `system_prompt` (the system message of calls without one),
            `callback_manager`, `messages_to_prompt`, `completion_to_prompt`, `output_parser`,
            `pydantic_program_mode`, `query_wrapper_prompt`, `rate_limiter`.

    Raises:
        UnknownArgumentError: An argument is unknown.
        InvalidParamsError: A value is out of its range.
        ModelError: There is no such model, or it cannot be run.
    """

    # A user without the store to look him up in is of no use, and no store is written out.
    user_id: str | None = Field(default=None, exclude=True)

    @field_serializer("pinned")
    def _write_pinned(self, pinned: bool) -> bool:
        # Without its user, a pinned model would be a plain one.
        return pinned and self.user_id is None

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised forms and traces."""
        return "AmuletLLM"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # LlamaIndex leaves out what cannot be pickled, such as a lambda.
        pickled = state["__dict__"]
        missing = {
            name: field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if name not in pickled
        }
        super().__setstate__({**state, "__dict__": {**missing, **pickled}})

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks before it asks the model. It does not load the model.

        `num_output` is `max_tokens`. Where that is all of the context window, it is half of the
        window, for LlamaIndex keeps that much of every prompt free.

        With `messages_to_prompt` a model cannot be shown tools, so it declares that it calls none.
        """
        window = self.context_window
        return LLMMetadata(
            context_window=window,
            num_output=self.max_tokens if self.max_tokens < window else window // 2,
            is_chat_model=True,
            is_function_calling_model=not writes_whole_prompts(self),
            model_name=self.model,
            system_role=MessageRole.SYSTEM,
        )

    def to_payload(self) -> dict[str, Any]:
        """What events and callbacks receive about the model; no text of a preference."""
        settings = {"model": self.model, "temperature": self.temperature, "method": self.method}
        return {**super().to_payload(), **settings, "max_tokens": self.max_tokens}

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def speaks_for(self) -> str | None:
        """Distinguishes models, in serialised forms, that answer differently for their users.

        LlamaIndex caches the results of transformations under keys made of those forms. Without
        this field one user would be served what was written for another. It is None where nobody
        is named; else a digest that holds in this process and reveals nothing. It reads the store
        and does not load the model.
        """
        return cache_identity(self)

    @model_validator(mode="before")
    @classmethod
    def _ignore_what_is_computed(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {
            name: value
            for name, value in data.items()
            if name != "speaks_for" and (name, value) != ("class_name", cls.class_name())
        }

    def prompt_helper(
        self, preference_tokens: int = DEFAULT_PREFERENCE_TOKENS, **options: Any
    ) -> PromptHelper:
        """Returns what packs documents into prompts that fit this model; loads the model.

        It is for ``Settings.prompt_helper``. LlamaIndex's default counts with another model's
        tokenizer, and knows neither of the chat template around a prompt nor of the preferences in
        it.

        Args:
            preference_tokens: Room left for a user's preferences, in tokens.
            **options: Other options of `PromptHelper`: `num_output` (by default `max_tokens`),
                `chunk_overlap_ratio`, `chunk_size_limit` and `separator`.

        Raises:
            UnknownArgumentError: One of the options is unknown.
            InvalidParamsError: An option is out of its range, or the answer's tokens and what is
                reserved leave nothing of the context window for documents.
        """
        return ModelPromptHelper(self, preference_tokens, **options)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation.

        Args:
            messages: The conversation.
            **kwargs: See the class.

        Returns:
            The assistant's message.

        Raises:
            AmuletError: An argument is not valid, or decoding failed.
        """
        return self._chat_call("chat", messages, kwargs).run()

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`: yields the message so far; closing the generator ends the decoding."""
        return self._chat_call("stream_chat", messages, kwargs).stream()

    # The async methods are no coroutine functions: they read their arguments and resolve the user
    # at once, and return what is to be awaited.
    def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Coro[ChatResponse]:
        """As `chat`, without blocking the event loop; cancelling the task ends the decoding."""
        return self._chat_call("achat", messages, kwargs).arun()

    def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coro[ChatResponseAsyncGen]:
        """As `stream_chat`, without blocking the event loop."""
        return self._chat_call("astream_chat", messages, kwargs).astream()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answers a prompt.

        Args:
            prompt: What the user says, or a whole prompt.
            formatted: Whether the prompt is whole, with the model's control tokens.
            **kwargs: See the class; there are no tools.

        Returns:
            The answer.

        Raises:
            AmuletError: An argument is not valid, or decoding failed.
        """
        return self._completion_call("complete", prompt, formatted, kwargs).run()

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """As `complete`: yields the text so far; closing the generator ends the decoding."""
        return self._completion_call("stream_complete", prompt, formatted, kwargs).stream()

    def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coro[CompletionResponse]:
        """As `complete`, without blocking the event loop; cancelling ends the decoding."""
        return self._completion_call("acomplete", prompt, formatted, kwargs).arun()

    def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coro[CompletionResponseAsyncGen]:
        """As `stream_complete`, without blocking the event loop."""
        return self._completion_call("astream_complete", prompt, formatted, kwargs).astream()

    def validate(  # type: ignore[override]  # pydantic's deprecated method is another
        self, prompt: str | Sequence[ChatMessage], formatted: bool = False, **kwargs: Any
    ) -> ValidatedCall:
        """Refuses what a call would refuse, and decodes nothing.

        A server can so answer a bad request with an error, before it begins to stream. It looks the
        user up, writes the prompts and compiles the schemas. It loads the model on first use.

        Args:
            prompt: A prompt as for `complete`, or messages as for `chat`.
            formatted: As in `complete`.
            **kwargs: As in `complete` or `chat`.

        Returns:
            Who the answer would be for, how, and how many tokens the prompt has.

        Raises:
            AmuletError: What the call would raise before it decodes.
        """
        return self._any_call(prompt, formatted, kwargs).validate()

    def avalidate(
        self, prompt: str | Sequence[ChatMessage], formatted: bool = False, **kwargs: Any
    ) -> Coro[ValidatedCall]:
        """As `validate`, without blocking the event loop."""
        return self._any_call(prompt, formatted, kwargs).avalidate()

    @raises_answer_errors
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As LlamaIndex's own; JSON where the prompt's or the model's output parser reads it.

        Raises:
            AnswerError: The prompt cannot be answered; the cause is the error itself.
        """
        llm, prompt_args = bind_parser_format(self, prompt_args, prompt)
        return super(AmuletLLM, llm).predict(prompt, **prompt_args)

    @raises_answer_errors
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coro[str]:
        """As `predict`, for asyncio."""
        llm, prompt_args = bind_parser_format(self, prompt_args, prompt)
        return bind_coroutine(super(AmuletLLM, llm).apredict(prompt, **prompt_args))

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """As LlamaIndex's own, which reads no output parsers."""
        llm, prompt_args = bind_preferences(self, prompt_args, prompt)
        return super(AmuletLLM, llm).stream(prompt, **prompt_args)

    def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coro[TokenAsyncGen]:
        """As `stream`, for asyncio."""
        llm, prompt_args = bind_preferences(self, prompt_args, prompt)
        return bind_coroutine(super(AmuletLLM, llm).astream(prompt, **prompt_args))

    @raises_answer_errors
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Predicts an object: JSON that follows its schema, enforced while decoding.

        The prompt's system text describes the schema. While JSON is written the preferences are in
        the prompt and no more; `steer_strings` steers the text in its strings as prose is steered.

        Args:
            output_cls: The Pydantic model of the object.
            prompt: The prompt.
            llm_kwargs: Arguments of the call; see the class.
            **prompt_args: The values of the prompt's variables.

        Raises:
            StructuredOutputError: The Pydantic model's own validators refuse the answer, or it
                fails what a grammar cannot enforce of the schema.
            AnswerError: An argument is not valid, or the schema cannot be enforced while decoding;
                the cause is the error itself.
            GenerationError: Decoding failed.
        """
        prediction = StructuredPrediction.prepare(self, output_cls, prompt, llm_kwargs, prompt_args)
        return prediction.predict()

    @raises_answer_errors
    def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Coro[Model]:
        """As `structured_predict`, without blocking the event loop."""
        prediction = StructuredPrediction.prepare(self, output_cls, prompt, llm_kwargs, prompt_args)
        return prediction.apredict()

    @raises_answer_errors
    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Objects[Model]:
        """As `structured_predict`: yields the object as it grows, and at last whole.

        Fields that have not come yet are None. An object that does not validate yet is a
        `FlexibleModel` of LlamaIndex's.
        """
        prediction = StructuredPrediction.prepare(self, output_cls, prompt, llm_kwargs, prompt_args)
        return prediction.stream()

    @raises_answer_errors
    def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Coro[AsyncObjects[Model]]:
        """As `stream_structured_predict`, without blocking the event loop."""
        prediction = StructuredPrediction.prepare(self, output_cls, prompt, llm_kwargs, prompt_args)
        return prediction.astream()

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> AmuletStructuredLLM:
        """Returns a model whose every answer is an object, for query engines and the like.

        Args:
            output_cls: The Pydantic model whose instances answers are; they are in `raw`.
            **kwargs: Fields of LlamaIndex's `StructuredLLM`.

        Raises:
            PromptError: `output_cls` is not a Pydantic model.
        """
        check_output_class(output_cls)
        return AmuletStructuredLLM(llm=self, output_cls=output_cls, **kwargs)

    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """Answers a conversation with text or calls of tools.

        Args:
            tools: LlamaIndex's tools, or dicts in OpenAI's form.
            *args: `user_msg` (what the user says last, a string or a message), `chat_history`
                (what was said before), `verbose` (without effect), `allow_parallel_tool_calls`
                (False by default: one call at most; with a tool named by `tool_choice` there is
                one in any case), `tool_required` (whether the model has to call).
            **kwargs: The same by name, the arguments of every call (see the class), and
                `tool_choice`: "auto" lets the model choose between text and calls; "any",
                "required" or True makes it call; "none" or False keeps it from calling; the name
                of a tool, or OpenAI's dict for one, makes it call that tool.

        Returns:
            The assistant's message. Its calls are `ToolCallBlock`s, and in OpenAI's form in
            ``additional_kwargs["tool_calls"]``.

        Raises:
            PromptError: A tool describes no function, two tools differ but have one name, or
                `tool_choice` names none of them.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
            AmuletError: Another argument is not valid, or decoding failed.
        """
        return self.chat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseGen:
        """As `chat_with_tools`, while it is being written; calls have what is known of them."""
        return self.stream_chat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    def achat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coro[ChatResponse]:
        """As `chat_with_tools`, without blocking the event loop."""
        return self.achat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coro[ChatResponseAsyncGen]:
        """As `stream_chat_with_tools`, without blocking the event loop."""
        return self.astream_chat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    def predict_and_call(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> AgentChatResponse:
        """As LlamaIndex's own: asks, makes the calls, and returns what the tools returned."""
        llm, kwargs = bind_preferences(self, react_defaults(self) | kwargs)
        return super(AmuletLLM, llm).predict_and_call(callable_tools(tools), *args, **kwargs)

    def apredict_and_call(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coro[AgentChatResponse]:
        """As `predict_and_call`, without blocking the event loop."""
        llm, kwargs = bind_preferences(self, react_defaults(self) | kwargs)
        called = super(AmuletLLM, llm).apredict_and_call(callable_tools(tools), *args, **kwargs)
        return bind_coroutine(called)

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[ToolSelection]:
        """Returns the calls of an answer; those of a partial answer as far as they are known.

        Raises:
            NoToolCallError: There is none, and `error_on_no_tool_call` is set.
        """
        selections = tool_selections(response)
        if not selections and error_on_no_tool_call:
            raise NoToolCallError(
                "The answer calls no tool. Make the model call with tool_required=True or "
                "tool_choice=, or pass error_on_no_tool_call=False."
            )
        return selections

    def _prepare_chat_with_tools(  # noqa: PLR0917 - LlamaIndex's signature
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: ToolChoice = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Returns the arguments of `chat`."""
        messages = list(chat_history or ())
        if user_msg is not None:
            messages.append(user_message(user_msg) if isinstance(user_msg, str) else user_msg)
        if not messages:
            raise PromptError("There is nothing to answer: pass user_msg= or chat_history=.")
        tool_options = chat_tool_options(
            tools, tool_choice, required=tool_required, parallel=allow_parallel_tool_calls
        )
        return {"messages": messages, **tool_options, **kwargs}

    def _chat_call(
        self, method: str, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]
    ) -> LLMCall[ChatResponse]:
        conversation = conversation_of_messages(self, messages)
        kwargs = {**self._bound, **kwargs}
        return LLMCall.prepare(
            self, CHAT, method, argument=messages, conversation=conversation, kwargs=kwargs
        )

    def _any_call(
        self, prompt: str | Sequence[ChatMessage], formatted: bool, kwargs: Mapping[str, Any]
    ) -> LLMCall[ChatResponse] | LLMCall[CompletionResponse]:
        if isinstance(prompt, str):
            return self._completion_call("complete", prompt, formatted, kwargs)
        if formatted:
            raise PromptError("formatted=True is said of a prompt in one string, not of messages.")
        return self._chat_call("chat", prompt, kwargs)

    def _completion_call(
        self, method: str, prompt: str, formatted: bool, kwargs: Mapping[str, Any]
    ) -> LLMCall[CompletionResponse]:
        conversation = conversation_of_prompt(self, prompt, formatted=formatted)
        kwargs = {**self._bound, **kwargs}
        return LLMCall.prepare(
            self,
            COMPLETION,
            method,
            argument=prompt,
            conversation=conversation,
            kwargs=kwargs,
            also_shown={"formatted": formatted},
        )


install_stream_binder()
