"""One call: whose it is, how it is answered, and what LlamaIndex's traces are shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from amulet_integrations.client import AmuletClient, Call
from amulet_integrations.llama_index.spans import in_span
from amulet_integrations.llama_index.streaming import GrowingAnswer, R
from amulet_integrations.personalization.prepared_call import PreparedAnswer, PreparedCall
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions


@dataclass(frozen=True, repr=False, kw_only=True)
class Exchange(Generic[R]):
    """A call whose arguments have been read; made when the public method is called.

    LlamaIndex's span, events and callbacks surround the answering and see `asked` and `shown`.

    Attributes:
        llm: Who is asked.
        method: The public method's name, for spans.
        callback: LlamaIndex's decorator that fires the events of this kind of call.
        asked: The prompt or the messages, as the caller gave them.
        shown: The call's keyword arguments without those on whose preferences to follow.
        conversation: What is asked of the engine; a string is a prompt written whole.
        call: The call's arguments, read.
        form: The form that the answer has to have.
        whose: Whose preferences to follow.
        respond: Makes the responses; see `GrowingAnswer`.
        tool_names: The tools' own names, by those that the model is told.
    """

    llm: AmuletClient
    method: str
    callback: Callable[[], Callable[..., Any]]
    asked: Any
    shown: dict[str, Any]
    conversation: list[ChatMessage] | str
    call: Call
    form: OutputOptions
    whose: PreferenceSelection
    respond: Callable[..., R]
    tool_names: Mapping[str, str]

    def whole(self) -> R:
        """The whole answer."""
        opened = self._open()

        def answer(*_: Any, **_shown: Any) -> R:
            *_grown, last = opened.responses()
            return opened.answer.whole(last)

        response: R = self._in_span(answer)
        return response

    def stream(self) -> Generator[R, None, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        responses = self._open().responses()

        def answer(*_: Any, **_shown: Any) -> Generator[R, None, None]:
            return responses

        return _closing_both(self._in_span(answer), responses)

    async def awhole(self) -> R:
        """`whole` for asyncio; cancelling the task ends the decoding."""
        opened = await asyncio.to_thread(self._open)

        async def answer(*_: Any, **_shown: Any) -> R:
            *_grown, last = [response async for response in opened.aresponses()]
            return opened.answer.whole(last)

        response: R = await self._in_span(answer)
        return response

    async def astream(self) -> AsyncGenerator[R, None]:
        """`stream` for asyncio."""
        responses = (await asyncio.to_thread(self._open)).aresponses()

        async def answer(*_: Any, **_shown: Any) -> AsyncGenerator[R, None]:
            return responses

        return _aclosing_both(await self._in_span(answer), responses)

    def _open(self) -> _Opened[R]:
        """Does what may block: loads the model, looks the user up, makes ready to read."""
        personalizer = self.llm.personalizer
        personalization = personalizer.personalize(self.whose)
        messages = self.conversation
        prepared = PreparedCall(
            messages=messages if isinstance(messages, str) else tuple(messages),
            personalization=personalization,
            sampling=self.call.sampling,
            output=self.form,
            timeout=self.call.timeout,
            chat_template_kwargs=self.call.chat_template_kwargs,
        )
        answer = personalizer.prepare_answer(prepared)
        describe = partial(personalization.describe, texts=self.llm.include_preference_text)
        facts = {"model": answer.engine.model_name}
        growing = GrowingAnswer(self.respond, answer.parser, facts, describe, self.tool_names)
        return _Opened(answer, growing)

    def _in_span(self, answer: Callable[..., Any]) -> Any:
        """Calls `answer` as a method of the model, in its span and between its events."""
        answer.__name__ = self.method
        work = self.callback()(answer)
        return in_span(self.llm, self.method, work, (self.asked,), self.shown)


@dataclass(frozen=True)
class _Opened(Generic[R]):
    """A call that is ready to be put to the engine."""

    prepared: PreparedAnswer
    answer: GrowingAnswer[R]

    def responses(self) -> Generator[R, None, None]:
        with closing(self.prepared.stream()) as increments:
            for increment in increments:
                yield self.answer.add(increment)

    async def aresponses(self) -> AsyncGenerator[R, None]:
        async with aclosing(self.prepared.astream()) as increments:
            async for increment in increments:
                yield self.answer.add(increment)


# LlamaIndex's generators do not close what they read from, and whoever keeps the exception that
# ended one keeps the rest of the chain alive with it.
def _closing_both(
    traced: Generator[R, None, None], responses: Generator[R, None, None]
) -> Generator[R, None, None]:
    with closing(responses), closing(traced):
        yield from traced


async def _aclosing_both(
    traced: AsyncGenerator[R, None], responses: AsyncGenerator[R, None]
) -> AsyncGenerator[R, None]:
    async with aclosing(responses), aclosing(traced):
        async for response in traced:
            yield response
