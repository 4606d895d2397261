"""One agent, two users: each tells it once how to answer, and it answers each that way.

Every wish is kept in the graph's own store, under the id of the user whose run it is. The model
has no say in whose it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import transformers
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langgraph.store.memory import InMemoryStore

from amulet_integrations.langchain import ChatAmulet, LangGraphProfileStore, PreferenceMiddleware

WISHES = {
    "ann": "Please answer with bullet points.",
    "ben": "Please answer like a friendly pirate.",
}
QUESTION = "Why is water important?"


@dataclass
class Context:
    """Who a run is for; a web application takes it from the session."""

    user_id: str


@wrap_model_call
def quote_wishes(
    request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
) -> ModelResponse[Any]:
    """Makes the model call where a user states a wish, and lets it quote nothing but the user.

    The embedded model is too small to decide to call, or to put a wish into words of its own.
    Leave this out with a larger one.
    """
    message = request.messages[-1]
    if message.type == "human" and message.text.startswith("Please"):
        quoting = {
            "title": "remember_preference",
            "description": "Remembers how the user wants to be answered.",
            "type": "object",
            "properties": {"preference": {"enum": [message.text]}},
            "required": ["preference"],
        }
        request = request.override(tools=[quoting], tool_choice="remember_preference")
    return handler(request)


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    memory = InMemoryStore()
    agent = create_agent(
        ChatAmulet(max_tokens=60),
        middleware=[PreferenceMiddleware(), quote_wishes],
        context_schema=Context,
        store=memory,
    )

    def ask(user_id: str, text: str) -> list[Any]:
        inputs = {"messages": [("user", text)]}
        messages: list[Any] = agent.invoke(inputs, context=Context(user_id))["messages"]
        return messages

    for user_id, wish in WISHES.items():
        (result,) = (message for message in ask(user_id, wish) if message.type == "tool")
        print(f"{user_id}: {wish}\n  {result.text}")

    profiles = LangGraphProfileStore(memory)
    for user_id in profiles.user_ids():
        profile = profiles.get(user_id)
        print(f"kept for {user_id}: {[it.text for it in profile.preferences] if profile else []}")

    for user_id in WISHES:
        print(f"\n{user_id}: {QUESTION}\n{ask(user_id, QUESTION)[-1].text}")


if __name__ == "__main__":
    main()
