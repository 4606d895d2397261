"""The chat model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import (
    agenerate_from_stream,
    generate_from_stream,
)
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable
from pydantic import Field, SecretStr

from amulet_integrations.client import without_unset
from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.binding import AmuletBinding
from amulet_integrations.langchain.entries import PERSONALIZATION
from amulet_integrations.langchain.exchange import Exchange
from amulet_integrations.langchain.form import in_plain_form
from amulet_integrations.langchain.identity import IdentifiedModel
from amulet_integrations.langchain.messages import to_chat_messages
from amulet_integrations.langchain.schemas import AnySchema
from amulet_integrations.langchain.streaming import AnswerWriter
from amulet_integrations.langchain.structured import StructuredMethod, StructuredOutput
from amulet_integrations.langchain.tools import AnyTool, to_openai_tools
from amulet_integrations.personalization.prepared_call import Personalization, PreparedCall
from amulet_integrations.prompting.openai_compat.openai_tools import ToolChoice
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions


class ChatAmulet(IdentifiedModel):
    """A local language model that answers each user as that user likes.

        llm = ChatAmulet(profiles="sqlite:///profiles.db")
        llm.invoke("What is a black hole?", user_id="ann")

    Whose preferences hold is settled once, when a method is called. The first of these that names
    somebody wins:

    1. the call: ``preference=``, ``profile=`` or ``user_id=`` (also by `bind`), or `for_user`;
    2. the config: ``{"configurable": {"user_id": ...}}``, which chains and graphs hand on;
    3. the surrounding `preference_scope`;
    4. the constructor.

    Each of them may also tell what the call is about, ``preference_context={"topic": "health"}``,
    for preferences that have a `when`; it is put together.

    A call takes ``method``, ``params``, ``stop``, ``timeout`` and the sampling parameters too. A
    chain reaches the model only when it runs: where its stream may be read outside of the scope in
    which it was asked for, name the user in the config.

    The constructor takes the fields of `AmuletConfig`, those of every LangChain chat model
    (``cache``, ``callbacks``, ``rate_limiter`` and so on) and the following.

    Attributes:
        streaming: Whether `invoke` streams to callbacks. False, where given, turns streaming off.
        stream_usage: Whether the last chunk of a stream counts the tokens.
        max_retries: Without effect: there is no network between you and the model.
        api_key: Without effect: nobody asks for one.

    Raises:
        UnknownArgumentError: An argument has no meaning here.
        InvalidParamsError: A value is out of its range.
        ModelNotFoundError: There is no such checkpoint.
    """

    streaming: bool = False
    stream_usage: bool = True
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)

    def bind(self, **kwargs: Any) -> AmuletBinding:  # type: ignore[override]
        """A model with arguments of a call bound to it; no text of a preference is told by it.

        Raises:
            PreferenceSelectionError: A preference or profile is of a wrong type.
            InvalidProfileError: A preference or profile is not valid.
        """
        return AmuletBinding(bound=self, kwargs=kwargs)

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
            tools: Functions, LangChain tools, Pydantic models, TypedDicts, or dicts in the form of
                OpenAI, Anthropic or Bedrock, or JSON schemas with a title.
            tool_choice: None or "auto" lets the model choose between text and calls; "any",
                "required" or True makes it call; "none" or False keeps it from calling; the name
                of a tool, or OpenAI's or Anthropic's dict for one, makes it call that tool.
            parallel_tool_calls: Whether one answer may hold several calls; None allows of several
                where the model calls of its own accord, and of one where it has to.
            strict: True closes every object in the tools' schemas to names they do not list.
            kwargs: Other arguments of a call, such as `user_id` or `response_format`; they are
                kept.

        Raises:
            PromptError: A tool describes no function, two differ but have one name, or
                `tool_choice` names none of them.
            UnsupportedGrammarError: A schema that cannot be enforced while decoding.
            UnknownArgumentError: One of `kwargs` means nothing to a call.
        """
        given = {"tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls, **kwargs}
        given = without_unset(given)
        if written := to_openai_tools(tools, strict):
            given["tools"] = written
        bound = in_plain_form(given)
        self._read_call(bound)
        OutputOptions.read(bound)
        return self.bind(**bound)

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
            schema: A Pydantic model (answers are its instances), or a TypedDict, a JSON schema or
                a function in OpenAI's form (answers are dicts). None, with `method="json_mode"`,
                is any JSON object.
            method: "json_schema" tells the model the schema in the system text; "json_mode" does
                not, so the prompt should; "function_calling" makes it a tool that has to be called.
            include_raw: Whether to return ``{"raw", "parsed", "parsing_error"}``.
            strict: As in `bind_tools`.
            tools: With "json_schema", tools that the model may call instead; the answer is None
                then, so `include_raw` is needed to see the calls.
            kwargs: Other arguments of a call, such as `user_id` or `steer_strings`; they are kept.
                Those that the method sets itself, such as `tool_choice`, are refused.

        Returns:
            A runnable. When it streams, dicts grow and instances come once, whole. Where the
            tokens run out the object is closed early, so a string in it may break off; the
            message, which `include_raw` returns, then has ``response_metadata["shortened"]``.
            Stop strings do not cut calls and JSON, which are always whole.

        Raises:
            PromptError: There is no schema, `method` is not one, or one of `kwargs` is set by it.
            UnsupportedGrammarError: A schema that cannot be enforced while decoding.
        """
        output = StructuredOutput(schema, method, strict)
        if tools is not None and method != "json_schema":
            raise PromptError(f'tools= goes with method="json_schema" only, not with {method!r}.')
        arguments = output.arguments
        if taken := sorted(arguments.keys() & kwargs):
            raise PromptError(
                f"{taken[0]}= is set by with_structured_output(method={method!r}) itself; leave it "
                "out, or use bind_tools."
            )
        llm = self.bind_tools(output.tools if tools is None else tools, **arguments, **kwargs)
        return output.read_from(llm, include_raw=include_raw)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - tokens are not told
        **kwargs: Any,
    ) -> ChatResult:
        exchange = self._open(messages, stop, self._selected(kwargs))
        return exchange.complete(generate_from_stream(exchange.chunks()))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        exchange = await asyncio.to_thread(self._open, messages, stop, self._selected(kwargs))
        return exchange.complete(await agenerate_from_stream(exchange.achunks()))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        exchange = self._open(messages, stop, self._selected(kwargs), streams=True)
        with closing(exchange.chunks()) as chunks:
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
        selected = self._selected(kwargs)
        exchange = await asyncio.to_thread(self._open, messages, stop, selected, streams=True)
        async with aclosing(exchange.achunks()) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _open(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        selected: dict[str, Any],
        *,
        streams: bool = False,
    ) -> Exchange:
        """Does what may block: loads the model, looks the user up, makes ready to read."""
        kwargs = self._resolved(selected)
        model, call = self.of_model(kwargs.get("model")), self._read_call(kwargs, stop)
        personalization: Personalization = kwargs[PERSONALIZATION]
        form = OutputOptions.read(kwargs, steer_strings=self.steer_strings)
        prepared = PreparedCall(
            messages=tuple(to_chat_messages(messages)),
            personalization=personalization,
            sampling=call.sampling,
            output=form,
            timeout=call.timeout,
            chat_template_kwargs=call.chat_template_kwargs,
        )
        answer = model.personalizer.prepare_answer(prepared)
        writer = AnswerWriter(
            answer.parser,
            facts={"model_name": model.model},
            describe=partial(personalization.describe, texts=self.include_preference_text),
            as_blocks=streams and self.output_version == "v1",
            tell_usage=not streams or kwargs.get("stream_usage", self.stream_usage) is not False,
        )
        return Exchange(answer, writer)

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        try:
            prompt = super()._convert_input(model_input)
        except (ValueError, NotImplementedError) as error:
            raise PromptError(f"The input is no conversation: {error}") from error
        # Here already, because tracers read blocks of images and the like, and fail in their way.
        to_chat_messages(prompt.to_messages())
        return prompt
