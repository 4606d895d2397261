"""What is known of a call before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from amulet_integrations.decoding.strength import Method

from .user_resolution import Source


@dataclass(frozen=True, kw_only=True)
class ValidatedCall:
    """A call that will not be refused, unless the queue is full or the profile changes meanwhile.

    The first seven are what the metadata of the answer will say in `amulet`.

    Attributes:
        user_id: The user whose preferences count; None for nobody.
        profile_version: The version of the user's stored profile; None if there is none.
        source: The level at which the user was named; None when nobody was named.
        method: The method; "base" where no preference is active.
        guidance_scale: The guidance scale that is applied.
        max_kl: The bound on what the guidance may do to a token, in nats; None for none.
        preset: The name of the strength where it has one.
        preferences: How many preferences are active.
        prompt_tokens: Tokens of the conversation, without preferences.
        context_tokens: Tokens of each context that will be run.
        max_tokens: Most tokens of the answer: the call's own limit, or what the window leaves.
        context_window: Most tokens of a context and the answer together.
    """

    user_id: str | None
    profile_version: int | None
    source: Source | None
    method: Method
    guidance_scale: float
    max_kl: float | None
    preset: str | None
    preferences: int
    prompt_tokens: int
    context_tokens: tuple[int, ...]
    max_tokens: int
    context_window: int
