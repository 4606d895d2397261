"""How questions are put to the model: in the package's own way, or in the paper's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from amulet_integrations.errors import EvaluationError
from amulet_integrations.prompting.builder import PromptBuilder
from amulet_integrations.prompting.messages import DEFAULT_SEPARATOR, DEFAULT_SYSTEM

from .record_types import EvaluationModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SetUp(EvaluationModel):
    """The prompt around a question, and how long answers may get.

    Attributes:
        name: The name in the settings of a run.
        system: The system text of both contexts.
        separator: The text between the system text and the preference.
        max_new_tokens: The most tokens of an answer, unless a run sets another number.
    """

    name: str
    system: str = DEFAULT_SYSTEM
    separator: str = DEFAULT_SEPARATOR
    max_new_tokens: int = Field(default=128, ge=1)

    def prompts(self, tokenizer: PreTrainedTokenizerBase) -> PromptBuilder:
        """Returns the builder of this set-up's prompts for a tokenizer."""
        return PromptBuilder(tokenizer, separator=self.separator, default_system=self.system)


SET_UPS = {
    "default": SetUp(name="default"),
    # The published prompt ends with the space before the preference, in the base context too. So
    # that space is part of the system text.
    "paper": SetUp(
        name="paper",
        system=(
            "You are an AI designed to provide the most helpful, clear, and concise responses. "
            "Focus on giving actionable information, ensuring accuracy and detail without "
            "overwhelming the user. You should also be patient, polite, and calm. Avoid "
            "unnecessary complexity and always prioritize practical, user-friendly advice. "
        ),
        separator="",
    ),
}
"""The set-ups by name."""


def read_set_up(set_up: str | SetUp) -> SetUp:
    """Finds a set-up by its name.

    Raises:
        EvaluationError: No set-up has this name.
    """
    if isinstance(set_up, SetUp):
        return set_up
    if set_up not in SET_UPS:
        raise EvaluationError(f"{set_up!r} is no set-up. There are {', '.join(SET_UPS)}.")
    return SET_UPS[set_up]
