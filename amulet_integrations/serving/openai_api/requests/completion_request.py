"""The body of POST /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from .generation_options import GenerationOptions
from .request_model import UNSUPPORTED, WHOLE, fault

Prompt = Annotated[str, Field(min_length=1)]


class CompletionRequest(GenerationOptions):
    """Prompts to be continued. No chat template is applied: the prompt is written whole.

    Attributes:
        prompt: One prompt, or several, of which each is answered.
        logprobs: How many of the likeliest tokens are named for each token; with 0, the answer
            has the log-probabilities of its own tokens alone.
        echo: Whether the text begins with the prompt.
    """

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationOptions.neutral,
        "best_of": (1,),
        "suffix": ("",),
    }

    prompt: Prompt | Annotated[list[Prompt], Field(min_length=1, fail_fast=True)]
    logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    echo: bool | None = None
    best_of: Any = None
    suffix: Any = None

    @model_validator(mode="before")
    @classmethod
    def _check_prompt(cls, data: Any) -> Any:
        prompt = data.get("prompt") if isinstance(data, dict) else None
        if isinstance(prompt, list) and any(isinstance(it, int | list) for it in prompt):
            raise fault(
                UNSUPPORTED, "Token ids are not supported. Send the prompt as text.", "prompt"
            )
        return data

    @model_validator(mode="after")
    def _check_echo(self) -> CompletionRequest:
        if self.echo and self.logprobs is not None:
            raise fault(
                UNSUPPORTED,
                "'echo' beside 'logprobs' is not supported: there are no log-probabilities of the "
                "prompt. Leave one of them out.",
                "echo",
            )
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts; each is answered `n` times."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def prompt_count(self) -> int:
        """As in `GenerationOptions`."""
        return len(self.prompts)

    def call_arguments(self, user_id: str | None) -> dict[str, Any]:
        """As in `GenerationOptions`, with the log-probabilities."""
        given = super().call_arguments(user_id)
        if self.logprobs is None:
            return given
        return {**given, "logprobs": True, "top_logprobs": self.logprobs}
