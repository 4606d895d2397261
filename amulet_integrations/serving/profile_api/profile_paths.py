"""Where profiles are below the address of an application."""

from __future__ import annotations

from urllib.parse import quote

PROFILES_PATH = "/v1/profiles"


def profile_path(user_id: str) -> str:
    """The path of a user's profile."""
    return f"{PROFILES_PATH}/{quote(user_id, safe='')}"
