"""What to do in place of asking a path that is not here."""

from __future__ import annotations

_ASK = "Ask by POST /v1/chat/completions."
_HINTS = {
    "responses": _ASK,
    "messages": _ASK,
    "assistants": _ASK,
    "threads": _ASK,
    "embeddings": "This server's model writes text and makes no embeddings.",
    "engines": "The model is listed by GET /v1/models.",
}
"""What to do in place of parts of OpenAI's API that are not here, by the first part of the path."""

_BELOW_V1 = ("chat", "completions", "embeddings", "me", "models", "profiles", "responses")


def unknown_path_hint(path: str) -> str:
    """What to do in place of asking a path of the server; empty where nothing is known."""
    first, *rest = path.strip("/").split("/")
    if first == "api":
        return "Choose OpenAI's API in the client, not Ollama's, with a base URL that ends in /v1."
    if first in _BELOW_V1:
        return "OpenAI's API is below /v1: the client's base URL has to end in /v1."
    if first != "v1":
        return ""
    if not rest:
        return "This is the base URL of clients. GET /v1/models lists the model."
    if rest[0] == "v1":
        return "The path has /v1 twice: the client adds its own. Leave it out of the base URL."
    return _HINTS.get(rest[0], "")
