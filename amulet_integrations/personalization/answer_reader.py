"""Reads one answer of the engine: the pieces of it, and what both wrappers report about it."""

from __future__ import annotations

from typing import Any

from amulet_integrations.engine.result import Increment
from amulet_integrations.prompting import AnswerParser
from amulet_integrations.prompting.parsing.pieces import Piece

from .prepared_call import Personalization


class AnswerReader:
    """Reads the increments of one answer.

    Args:
        parser: Separates text, reasoning and tool calls.
        personalization: What the answer is decoded with.
        include_preference_text: Whether the metadata contains the texts of the preferences.
    """

    def __init__(
        self,
        parser: AnswerParser,
        personalization: Personalization,
        *,
        include_preference_text: bool = False,
    ) -> None:
        self._parser = parser
        self._personalization = personalization
        self._include_preference_text = include_preference_text
        self._guidance_fractions: list[float | None] = []

    def read(self, increment: Increment) -> list[Piece]:
        """Returns the pieces that one increment completes; the last increment completes all."""
        self._guidance_fractions += increment.guidance_fractions
        pieces = list(self._parser.push(increment.text))
        if increment.usage is not None:
            pieces += self._parser.flush()
        return pieces

    def metadata(self, last: Increment, *, has_calls: bool) -> dict[str, Any]:
        """Returns what is reported when the answer is finished, as plain JSON values.

        Args:
            last: The last increment.
            has_calls: Whether the answer contains a valid tool call.

        Returns:
            `finish_reason` in OpenAI's words, `amulet` (see `Personalization.describe`), and
            `shortened` where JSON was closed early because the tokens ran out.
        """
        reason: str | None = last.finish_reason
        if has_calls and reason == "stop":
            reason = "tool_calls"
        described = self._personalization.describe(
            texts=self._include_preference_text, fractions=self._guidance_fractions
        )
        shortened = {"shortened": True} if last.shortened else {}
        return {"finish_reason": reason, "amulet": described, **shortened}
