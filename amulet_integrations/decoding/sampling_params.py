"""Parameters of sampling, and of when to stop."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, field_validator

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

_GREEDY_BELOW = 1e-5

StopString = Annotated[str, StringConstraints(min_length=1)]


class SamplingParams(FrozenModel):
    """Parameters of sampling, under the names of transformers; `stop` and `seed` are those of vLLM.

    They apply to the mixture of the contexts, never to one context, in this order: repetition
    penalty, temperature, top-k, top-p, min-p.

    Attributes:
        max_new_tokens: Most tokens to generate, at least 1.
        min_new_tokens: Number of tokens before which no end-of-text token is drawn; 0 is off.
        temperature: 0 takes the most likely token (greedy, as the published code does); at most
            100. As in vLLM, values below 1e-5 count as 0: they leave a choice to no other token.
        top_p: Keeps the smallest set of tokens with at least this much probability; 1 keeps all.
        top_k: Keeps this many most likely tokens; 0 keeps all.
        min_p: Drops tokens below this fraction of the likeliest one's probability; 0 drops none.
        repetition_penalty: Above 1 discourages tokens already in the completion; 1 is off; from
            0.01 to 100. It applies to a single context's logits, as in transformers, and to the
            weighted log-probabilities of several contexts.
        seed: Makes sampling repeatable, whatever else the engine runs; None draws a new seed.
        stop: Strings that end the completion; they are not part of the text. One string, or a
            sequence of at most 64.

    Raises:
        InvalidParamsError: A value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    max_new_tokens: int = Field(default=512, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=0.0, ge=0.0, le=100.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=100.0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: tuple[StopString, ...] = Field(default=(), max_length=64)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bools(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("A bool means nothing here")  # noqa: TRY004 - pydantic reports it
        return value

    @field_validator("temperature")
    @classmethod
    def _tiny_is_greedy(cls, temperature: float) -> float:
        return temperature if temperature >= _GREEDY_BELOW else 0.0

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_as_sequence(cls, stop: Any) -> Any:
        if stop is None:
            return ()
        return (stop,) if isinstance(stop, str) else stop
