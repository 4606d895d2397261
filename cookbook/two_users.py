"""Two users ask the same questions; each is answered the way that user likes."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path

from amulet_integrations import PreferenceProfile, SqlProfileStore
from amulet_integrations.langchain import ChatAmulet

USERS = {
    "ann": "Answer in one short sentence.",
    "ben": "Answer like a friendly pirate. Be brief.",
}
QUESTIONS = [
    "What is the capital of France?",
    "Why is water important?",
    "What is photosynthesis?",
]


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        SqlProfileStore(Path(folder) / "profiles.db") as profiles,
    ):
        for user_id, preference in USERS.items():
            profiles.save(PreferenceProfile(user_id=user_id, preferences=[preference]))
            print(f'{user_id} prefers: "{preference}"')
        exchange(ChatAmulet(profiles=profiles, max_tokens=70))


def exchange(llm: ChatAmulet) -> None:
    configs = [{"configurable": {"user_id": user_id}} for user_id in USERS]
    for question in QUESTIONS:
        print(f"\n{question}")
        answers = llm.batch([question] * len(USERS), configs)  # decoded together
        for user_id, answer in zip(USERS, answers, strict=True):
            print(f"\n  {user_id}:")
            for line in filter(None, answer.text.splitlines()):
                print(textwrap.fill(line, 80, initial_indent="    ", subsequent_indent="    "))
    used = answers[0].response_metadata["amulet"]
    bound = used["max_kl"]
    print(
        f"\nGuidance scale {used['guidance_scale']:g}, "
        f"{'not bounded' if bound is None else f'bounded to {bound:g} nats a token'} "
        f"(preset {used['preset']!r})."
    )


if __name__ == "__main__":
    main()
