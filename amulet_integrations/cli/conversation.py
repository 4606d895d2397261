"""The turns of a chat, answered by preferences that are looked up at every turn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from amulet_integrations.cli.session import opening
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.engine.result import Increment
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import Personalization, PreparedCall
from amulet_integrations.personalization.selection import PreferenceSelection, resolve_user
from amulet_integrations.prompting import ChatMessage


class Conversation:
    """One chat from its first question on.

    Args:
        personalizer: Answers.
        whose: Whose preferences are followed; may be changed between turns.
        sampling: How to pick tokens.
        system: The system message.
    """

    def __init__(
        self,
        personalizer: Personalizer,
        whose: PreferenceSelection,
        sampling: SamplingParams,
        system: str | None,
    ) -> None:
        self.whose = whose
        self._personalizer = personalizer
        self._sampling = sampling
        self._opening = opening(system)
        self._turns: list[ChatMessage] = []

    def personalization(self) -> Personalization:
        """What the next answer is decoded with; reads the profile anew."""
        return self._personalizer.personalize(resolve_user(self.whose, searchable=True))

    def ask(self, question: str) -> Generator[Increment]:
        """Streams an answer. Closing the generator ends it there.

        Question and answer become turns of the conversation, also if the answer was cut short,
        but not if nothing of it came.
        """
        asked = ChatMessage(role="user", content=question)
        said = ""
        prepared = PreparedCall(
            messages=(*self._opening, *self._turns, asked),
            personalization=self.personalization(),
            sampling=self._sampling,
        )
        answer = self._personalizer.stream(prepared)
        try:
            with closing(answer):
                for increment in answer:
                    said += increment.text
                    yield increment
        finally:
            if said:
                self._turns += [asked, ChatMessage(role="assistant", content=said)]

    def reset(self) -> None:
        """Forgets all turns."""
        self._turns.clear()
