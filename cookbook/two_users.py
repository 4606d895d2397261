"""Two users ask the same questions; each is answered the way that user likes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import transformers

from amulet_integrations import AmuletParams, PreferenceProfile, SqlProfileStore
from amulet_integrations.langchain import ChatAmulet

USERS = {
    "ann": "Answer with a numbered list.",
    "ben": "Answer like a friendly pirate.",
}
QUESTIONS = ["Why should I learn to swim?", "How do I make tea?"]

# One update (p = 1.95): at the published 60 (p = 5.65) so small a model rambles.
STRENGTH = AmuletParams(iterations=1)


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    with (
        tempfile.TemporaryDirectory() as folder,
        SqlProfileStore(Path(folder) / "profiles.db") as profiles,
    ):
        for user_id, preference in USERS.items():
            profiles.save(PreferenceProfile(user_id=user_id, preferences=[preference]))
        exchange(ChatAmulet(profiles=profiles, params=STRENGTH, max_tokens=60))


def exchange(llm: ChatAmulet) -> None:
    print(f"\nTwo users, guidance scale p = {STRENGTH.guidance_scale:.2f}")
    for question in QUESTIONS:
        print(f"\n— {question}")
        for user_id, preference in USERS.items():
            print(f'\n{user_id} ("{preference}"):')
            for chunk in llm.stream(question, user_id=user_id):
                print(chunk.text, end="", flush=True)
            print()


if __name__ == "__main__":
    main()
