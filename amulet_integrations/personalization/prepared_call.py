"""One call on its way to the engine: what it asks for, and what it is decoded with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import Increment
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions

from .selection import Source

if TYPE_CHECKING:
    from amulet_integrations.prompting import AnswerParser


@dataclass(frozen=True, repr=False)
class Personalization:
    """Which preferences one call is decoded with, by which method and how strongly.

    Its `repr` shows a digest and no text of a preference. Calls whose answers may differ have
    different digests, so that the `repr` can be part of a cache key.

    Attributes:
        user_id: The user; None for a preference of nobody in particular.
        version: The version of the user's stored profile.
        preferences: The active preferences.
        method: The method.
        guidance_scale: The guidance scale that is applied.
        max_kl: The bound on what the guidance may do to a token, in nats; None for none.
        preset: The name of the strength where it has one: a preset's, or "saved" for the one that
            was saved for this model.
        source: The level at which the user was named; None when nobody was named.
    """

    user_id: str | None
    version: int | None
    preferences: tuple[Preference, ...]
    method: Method
    guidance_scale: float
    max_kl: float | None
    preset: str | None
    source: Source | None

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything that shapes the answer or is reported with it."""
        facts = [
            self.describe(),
            [(preference.text, preference.weight) for preference in self.preferences],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def describe(
        self, *, texts: bool = False, fractions: Sequence[float | None] = ()
    ) -> dict[str, Any]:
        """What was applied, as plain JSON values.

        Args:
            texts: Whether to include the preferences' texts, which are private.
            fractions: The answer's `Increment.guidance_fractions`. With them the result includes
                how many tokens the bound held back, and the mean of the guidance scales that were
                used.
        """
        shown = {"name", "weight", "text"} if texts else {"name", "weight"}
        used: dict[str, Any] = {}
        if guided := [fraction for fraction in fractions if fraction is not None]:
            mean = sum(guided) / len(guided)
            used = {
                "bounded_tokens": sum(fraction < 1.0 for fraction in guided),
                "mean_guidance_scale": 1.0 + mean * (self.guidance_scale - 1.0),
            }
        return {
            "user_id": self.user_id,
            "profile_version": self.version,
            "source": self.source,
            "method": self.method if self.preferences else "base",
            "guidance_scale": self.guidance_scale,
            "max_kl": self.max_kl,
            "preset": self.preset,
            **used,
            "preferences": [it.model_dump(include=shown) for it in self.preferences],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint})"


@dataclass(frozen=True, kw_only=True)
class PreparedCall:
    """One call: converted, validated and ready to be rendered.

    Attributes:
        messages: The conversation; a string is a prompt that the caller has written whole.
        personalization: The preferences, from `Personalizer.personalize`.
        sampling: How to choose tokens. Stop strings that the prompt's format needs are added.
        output: The tools, the response format and the log-probabilities of the answer.
        timeout: Seconds after which the request fails; None for no limit.
        chat_template_kwargs: Further variables of the model's chat template.
    """

    messages: tuple[ChatMessage, ...] | str
    personalization: Personalization
    sampling: SamplingParams
    output: OutputOptions = field(default_factory=OutputOptions)
    timeout: float | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PreparedAnswer:
    """A rendered request, the engine that decodes it, and the parser of its answer.

    Attributes:
        engine: The engine.
        request: The request.
        parser: Separates text, reasoning and tool calls. It has state: use it for one answer.
    """

    engine: Engine
    request: GenerationRequest
    parser: AnswerParser

    def stream(self) -> Generator[Increment, None, None]:
        """Decodes the answer; closing the generator cancels the request."""
        increments = self.engine.stream(self.request)
        try:
            yield from increments
        finally:
            increments.close()

    async def astream(self) -> AsyncGenerator[Increment, None]:
        """`stream` for asyncio."""
        increments = self.engine.astream(self.request)
        try:
            async for increment in increments:
                yield increment
        finally:
            await increments.aclose()
