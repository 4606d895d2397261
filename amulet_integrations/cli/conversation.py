"""The turns of a chat, answered by preferences that are looked up at every turn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from amulet_integrations.decoding import SamplingParams
from amulet_integrations.engine.result import Increment
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles.stores.description import (
    describe_store,
    how_to_make_profile,
    profile_command,
)
from amulet_integrations.prompting import ChatMessage


def system_messages(system: str | None) -> list[ChatMessage]:
    """The messages that a conversation begins with."""
    return [] if system is None else [ChatMessage(role="system", content=system)]


class Conversation:
    """One chat from its first question on.

    Args:
        personalizer: Answers the questions.
        selection: Whose preferences are followed; may be changed between turns.
        sampling: How tokens are chosen.
        system: The system message.
    """

    def __init__(
        self,
        personalizer: Personalizer,
        selection: PreferenceSelection,
        sampling: SamplingParams,
        system: str | None,
    ) -> None:
        self.selection = selection
        self._personalizer = personalizer
        self._sampling = sampling
        self._system = system_messages(system)
        self._turns: list[ChatMessage] = []
        self.left_out = 0

    def personalization(self) -> Personalization:
        """What the next answer is decoded with; reads the profile anew."""
        return self._personalizer.personalize(resolve_user(self.selection, searchable=True))

    @property
    def place(self) -> str:
        """Where the profiles of users are, in words."""
        store = self._personalizer.store
        return "no place" if store is None else describe_store(store)

    def add_command(self, user_id: str) -> str:
        """The command that adds a preference to a user's profile."""
        store = self._personalizer.store
        if store is None:
            return profile_command(user_id, action="add")
        return how_to_make_profile(store, user_id, action="add")

    def ask(self, question: str) -> Generator[Increment]:
        """Streams an answer. Closing the generator ends it there.

        Question and answer become turns of the conversation. So does an answer that was cut short,
        unless it was cut before its first character.
        """
        turn = ChatMessage(role="user", content=question)
        text = ""
        prepared = PreparedCall(
            messages=(*self._system, *self._turns, turn),
            personalization=self.personalization(),
            sampling=self._sampling,
        )
        ready = self._personalizer.prepare_answer(prepared)
        self.left_out = len(ready.call.personalization.left_out)
        answer = self._personalizer.engine.stream(ready.request)
        try:
            with closing(answer):
                for increment in answer:
                    text += increment.text
                    yield increment
        finally:
            if text:
                self._turns += [turn, ChatMessage(role="assistant", content=text)]

    def reset(self) -> None:
        """Forgets all turns."""
        self._turns.clear()
