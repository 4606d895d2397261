"""One call on its way to the engine: its input, its preferences, and how to read its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import Increment, TokenExplanation
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions
from amulet_integrations.prompting.parsing.pieces import TextPiece

from .applied_preferences import Personalization
from .explained_answers import EXPLANATION_ID, ExplainedAnswer, Render
from .validated_call import ValidatedCall

if TYPE_CHECKING:
    from amulet_integrations.prompting import AnswerParser
    from amulet_integrations.prompting.parsing.pieces import Piece

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PreparedCall:
    """One call: converted, validated and ready to be rendered.

    Attributes:
        messages: The conversation; a string is a prompt that the caller has written whole.
        personalization: The preferences, from `Personalizer.personalize`.
        sampling: How to choose tokens. Stop strings that the prompt's format needs are added.
        output: The tools, the response format and the log-probabilities of the answer.
        deadline: Until when the call may take; by default there is no limit.
        chat_template_kwargs: Further variables of the model's chat template.
        cache_salt: As in `GenerationRequest`.
        include_preference_text: Whether the metadata contains the texts of the preferences.
        keep_explained: Keeps the answer with the explanations of its tokens and returns the id
            that the metadata contains; None for an answer that is not explained.
    """

    messages: tuple[ChatMessage, ...] | str = field(repr=False)
    personalization: Personalization
    sampling: SamplingParams
    output: OutputOptions = field(default_factory=OutputOptions)
    deadline: Deadline = field(default_factory=Deadline)
    chat_template_kwargs: Mapping[str, Any] | None = None
    cache_salt: str | None = field(default=None, repr=False)
    include_preference_text: bool = False
    keep_explained: Callable[[ExplainedAnswer], str] | None = None

    @property
    def last_question(self) -> str:
        """The last text that the user wrote; blank messages are passed over."""
        if isinstance(self.messages, str):
            return self.messages
        texts = (it.content for it in reversed(self.messages) if it.role == "user")
        return next((text for text in texts if text.strip()), "")


@dataclass(repr=False)
class PreparedAnswer:
    """A rendered request, the engine that decodes it, and what reads the answer; for one answer.

    Attributes:
        call: The call.
        engine: The engine.
        request: The request.
        parser: Separates text, reasoning and tool calls.
        render: Writes the contexts of single preferences, for explanations.
    """

    call: PreparedCall
    engine: Engine
    request: GenerationRequest
    parser: AnswerParser
    render: Render
    _guidance_fractions: list[float | None] = field(default_factory=list, init=False)
    _explanations: list[TokenExplanation] = field(default_factory=list, init=False)
    _text: list[str] = field(default_factory=list, init=False)
    _json: list[str] = field(default_factory=list, init=False)

    def validate(self) -> ValidatedCall:
        """Has the engine check the request, without decoding it, where the engine can.

        Raises:
            AmuletError: The engine refuses the request.
        """
        check = getattr(self.engine, "validate", None)
        if check is not None:
            check(self.request)
        applied, window = self.call.personalization, self.engine.context_window
        lengths = tuple(map(len, self.request.running_contexts))
        return ValidatedCall(
            user_id=applied.user_id,
            profile_version=applied.version,
            source=applied.source,
            method=applied.applied_method,
            guidance_scale=applied.guidance_scale,
            max_kl=applied.max_kl,
            preset=applied.preset,
            preferences=len(applied.preferences),
            prompt_tokens=len(self.request.contexts[0]),
            context_tokens=lengths,
            max_tokens=min(self.request.sampling.max_new_tokens, window - max(lengths)),
            context_window=window,
        )

    def stream(self, convert: Callable[[Increment], Iterable[T]]) -> Generator[T, None, None]:
        """Yields what `convert` makes of each increment; closing the generator ends the decoding.

        The request is submitted when the first item is read.
        """
        with closing(self.engine.stream(self.request)) as increments:
            for increment in increments:
                yield from convert(increment)

    async def astream(self, convert: Callable[[Increment], Iterable[T]]) -> AsyncGenerator[T, None]:
        """`stream` for asyncio."""
        async with aclosing(self.engine.astream(self.request)) as increments:
            async for increment in increments:
                for item in await self._converted(increment, convert):
                    yield item

    async def _converted(
        self, increment: Increment, convert: Callable[[Increment], Iterable[T]]
    ) -> Iterable[T]:
        """What `convert` makes of an increment, on a thread where that may take a second."""
        may_complete_value = increment.usage is not None or "}" in increment.text
        if not (may_complete_value and self._compares_values):
            return convert(increment)
        return await REQUEST_THREADS.arun(
            lambda: list(convert(increment)),
            deadline=self.call.deadline,
            user_id=self.request.user_id,
        )

    @cached_property
    def _compares_values(self) -> bool:
        """Whether finished values are compared with a schema that no grammar enforces whole."""
        return self.call.output.compares_values

    def read(self, increment: Increment) -> list[Piece]:
        """Returns the pieces that one increment completes; the last increment completes all.

        Raises:
            StructuredOutputError: The whole answer does not follow its schema.
        """
        self._guidance_fractions += increment.guidance_fractions
        if self.call.keep_explained is not None:
            self._explanations += increment.explanations
            self._text.append(increment.text)
        pieces = list(self.parser.push(increment.text))
        if increment.usage is not None:
            pieces += self.parser.flush()
        output = self.call.output.json_output
        if output is not None and output.check:
            self._json += [piece.text for piece in pieces if isinstance(piece, TextPiece)]
            if increment.usage is not None and self._json:
                output.check_answer("".join(self._json))
        return pieces

    def metadata(self, last: Increment, *, has_calls: bool, **facts: Any) -> dict[str, Any]:
        """Returns what is reported when the answer is finished, as plain JSON values.

        Args:
            last: The last increment.
            has_calls: Whether the answer contains a valid tool call.
            **facts: What the framework reports as well, such as the model's name.

        Returns:
            `finish_reason` in OpenAI's words, the facts, `backend` where the engine names it,
            `amulet` (see `Personalization.describe`; with the id of the explanation where there is
            one), and `shortened` where JSON was closed early because the tokens ran out.
        """
        reason: str | None = last.finish_reason
        if has_calls and reason == "stop":
            reason = "tool_calls"
        described = self.call.personalization.describe(
            texts=self.call.include_preference_text, fractions=self._guidance_fractions
        )
        if self.call.keep_explained is not None:
            answer = ExplainedAnswer(
                question=self.call.last_question,
                text="".join(self._text),
                tokens=tuple(self._explanations),
                applied=self.call.personalization,
                engine=self.engine,
                render=self.render,
            )
            described[EXPLANATION_ID] = self.call.keep_explained(answer)
        name = getattr(self.engine, "backend_name", None)
        backend = {} if name is None else {"backend": name}
        shortened = {"shortened": True} if last.shortened else {}
        return {"finish_reason": reason, **facts, **backend, "amulet": described, **shortened}
