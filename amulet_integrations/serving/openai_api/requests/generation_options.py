"""The parameters that chats and completions share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from amulet_integrations.serving.api_errors import ApiError

from .amulet_fields import AmuletFields
from .ignored_parameters import ignored_parameters
from .request_model import WHOLE, RequestModel

Count = Annotated[int, Field(ge=1), WHOLE]


def _limit_if_any(value: Any) -> Any:
    return None if value == _NO_LIMIT else value


_NO_LIMIT = -1

TokenLimit = Annotated[
    Count | None,
    BeforeValidator(_limit_if_any, json_schema_input_type=Literal[-1] | Count | None),
]
"""Most tokens of an answer; -1, by which front ends say that there is no limit, is left out."""

StopString = Annotated[str, Field(min_length=1)]
StopStrings = Annotated[list[StopString], Field(max_length=64, fail_fast=True)]

_SEEDS = 2**63

_PENALTY = "Use 'repetition_penalty'."


class StreamOptions(RequestModel):
    """How an answer is streamed.

    Attributes:
        include_usage: Whether a last chunk, which has no choices, counts the tokens.
        include_obfuscation: Has no effect: chunks are not padded.
        continuous_usage_stats: Whether every chunk counts them, by vLLM's name; refused.
    """

    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {"include_obfuscation": ()}
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {"continuous_usage_stats": (False,)}

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: Any = None


class GenerationOptions(RequestModel):
    """What a request for text says, whatever it answers: a conversation or a prompt.

    Attributes:
        model: The name of the served model.
        stream: Whether the answer comes in parts, as server-sent events.
        stream_options: How it is streamed. A whole answer always counts its tokens.
        n: How many answers are wanted; they differ if the temperature is above 0.
        max_tokens: Most tokens of an answer; -1 leaves it to the server, as if it were left out.
        temperature: 0, the default, takes the likeliest token.
        top_p: Keeps the smallest set of tokens with this much probability.
        seed: Makes sampling repeatable. The answer with index i has the seed `seed` + i. A
            negative one counts from 2**63 down.
        stop: Strings that end the answer.
        user: The user whose stored preferences the answer follows, for callers who may name one.
        top_k: Keeps this many tokens; 0 and -1 keep all. By vLLM's name, as the next three are.
        min_p: Drops tokens below this fraction of the likeliest one's probability.
        repetition_penalty: Above 1 discourages tokens already in the answer.
        min_tokens: Fewest tokens of an answer.
        amulet: Amulet's own parameters.
    """

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logit_bias": ({},),
    }
    hints: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "frequency_penalty": _PENALTY,
            "presence_penalty": _PENALTY,
            "user_id": "Did you mean 'user'?",
            **{
                name: f'Put it into "amulet": {{"{name}": …}}.'
                for name in AmuletFields.model_fields
            },
        }
    )

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    max_tokens: TokenLimit = None
    temperature: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    seed: Annotated[int, Field(ge=-_SEEDS, lt=_SEEDS), WHOLE] | None = None
    stop: StopString | StopStrings | None = None
    user: str | None = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None

    top_k: Annotated[int, Field(ge=-1), WHOLE] | None = None
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100.0)] | None = None
    min_tokens: Annotated[int, Field(ge=0), WHOLE] | None = None
    amulet: AmuletFields | None = None

    _passed: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _let_ignored_pass(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        passed = ignored_parameters()
        if not passed or not isinstance(data, dict):
            return handler(data)
        made = handler({name: value for name, value in data.items() if name not in passed})
        made._passed = tuple(sorted(it for it in passed if data.get(it) is not None))  # noqa: SLF001 - its own
        return made

    @property
    def choices(self) -> int:
        """How many answers are wanted of each conversation or prompt."""
        return self.n or 1

    @property
    def prompt_count(self) -> int:
        """How many conversations or prompts are answered, each `n` times."""
        return 1

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None where the request leaves it to the server."""
        return self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the count of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def ignored(self) -> list[str]:
        """What the client has sent and what has no effect here, for `amulet.ignored`."""
        inner = self.stream_options.without_effect if self.stream_options else []
        named = (*self.without_effect, *self._passed)
        return [*sorted(named), *(f"stream_options.{name}" for name in inner)]

    def check_limits(self, *, max_tokens: int, max_choices: int) -> None:
        """Refuses what the operator does not allow.

        Args:
            max_tokens: Most tokens of an answer.
            max_choices: Most answers.

        Raises:
            ApiError: 400, it is more.
        """
        if (asked := self.token_limit or 0) > max_tokens:
            raise ApiError(
                400,
                f"max_tokens={asked} is above {max_tokens}, the most that this server allows for "
                "an answer. Ask for fewer.",
                param="max_tokens" if self.max_tokens else "max_completion_tokens",
                code="max_tokens_too_large",
            )
        prompts = self.prompt_count
        if self.choices * prompts > max_choices:
            wanted = f"n={self.choices}" + (f" for {prompts} prompts" if prompts > 1 else "")
            raise ApiError(
                400,
                f"{wanted}: this server gives at most {max_choices} answers to a request. Ask for "
                "fewer.",
                param="n" if self.n else "prompt",
                code="too_many_choices",
            )

    def call_arguments(self, user_id: str | None) -> dict[str, Any]:
        """The request as arguments of `AmuletClient.read_call`.

        Args:
            user_id: The user whose stored profile counts; None for nobody.
        """
        values = {
            "max_tokens": self.token_limit,
            "min_new_tokens": self.min_tokens,
            **{
                name: getattr(self, name)
                for name in ("temperature", "top_p", "min_p", "repetition_penalty")
            },
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "seed": None if self.seed is None else self.seed % _SEEDS,
            "stop": self.stop,
        }
        given = {name: value for name, value in values.items() if value is not None}
        return given | (self.amulet or AmuletFields()).call_arguments(user_id)
