"""One call: whose it is, how it is answered, and what LlamaIndex's traces are shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from amulet_integrations.llama_index.answers import GrowingAnswer, R
from amulet_integrations.personalizer import Personalization, Personalizer
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.settings import AmuletSettings, Call
from amulet_integrations.whose import Whose

M = TypeVar("M", bound=Callable[..., Any])

_dispatcher = get_dispatcher(__name__)


def opens_own_span(method: M) -> M:
    """Keeps LlamaIndex from opening a span around a public method.

    That span would record all arguments, the user's preferences among them.
    """
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


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
        whose: Whose preferences to follow.
        form: Makes the responses; see `GrowingAnswer`.
    """

    llm: AmuletSettings
    method: str
    callback: Callable[[], Callable[..., Any]]
    asked: Any
    shown: dict[str, Any]
    conversation: list[ChatMessage] | str
    call: Call
    whose: Whose
    form: Callable[..., R]

    def whole(self) -> R:
        """The whole answer."""
        responses = self._responses(*self._open())

        def answer(*_: Any, **_shown: Any) -> R:
            *_grown, last = responses
            return _not_streamed(last)

        response: R = self._in_span(answer)
        return response

    def stream(self) -> Generator[R, None, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        responses = self._responses(*self._open())

        def answer(*_: Any, **_shown: Any) -> Generator[R, None, None]:
            return responses

        return _closing_both(self._in_span(answer), responses)

    async def awhole(self) -> R:
        """`whole` for asyncio; cancelling the task ends the decoding."""
        responses = self._aresponses(*await asyncio.to_thread(self._open))

        async def answer(*_: Any, **_shown: Any) -> R:
            *_grown, last = [response async for response in responses]
            return _not_streamed(last)

        response: R = await self._in_span(answer)
        return response

    async def astream(self) -> AsyncGenerator[R, None]:
        """`stream` for asyncio."""
        responses = self._aresponses(*await asyncio.to_thread(self._open))

        async def answer(*_: Any, **_shown: Any) -> AsyncGenerator[R, None]:
            return responses

        return _aclosing_both(await self._in_span(answer), responses)

    def _open(self) -> tuple[Personalizer, GrowingAnswer[R], Personalization]:
        """Does what may block: loads the model and looks the user up."""
        engine = self.llm.load_engine()
        personalizer = self.llm.personalizer
        personalization = personalizer.resolve(self.whose)
        told = personalization.describe(texts=self.llm.include_preference_text)
        return personalizer, GrowingAnswer(self.form, engine.model_name, told), personalization

    def _responses(
        self, personalizer: Personalizer, answer: GrowingAnswer[R], personalization: Personalization
    ) -> Generator[R, None, None]:
        with closing(personalizer.stream(**self._request(personalization))) as increments:
            for increment in increments:
                yield answer.add(increment)

    async def _aresponses(
        self, personalizer: Personalizer, answer: GrowingAnswer[R], personalization: Personalization
    ) -> AsyncGenerator[R, None]:
        async with aclosing(personalizer.astream(**self._request(personalization))) as increments:
            async for increment in increments:
                yield answer.add(increment)

    def _request(self, personalization: Personalization) -> dict[str, Any]:
        return {
            "messages": self.conversation,
            "personalization": personalization,
            "sampling": self.call.sampling,
            "timeout": self.call.timeout,
            "chat_template_kwargs": self.call.chat_template_kwargs,
        }

    def _in_span(self, answer: Callable[..., Any]) -> Any:
        """Calls `answer` as a method of the model, in its span and between its events."""
        answer.__name__ = self.method
        method = _dispatcher.span(self.callback()(answer)).__get__(self.llm, type(self.llm))
        return method(self.asked, **self.shown)


def _not_streamed(response: R) -> R:
    response.delta = None
    return response


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
