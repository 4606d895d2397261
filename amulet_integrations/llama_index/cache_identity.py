"""What tells apart, in the keys of LlamaIndex's caches, models that answer for different users."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from secrets import token_bytes
from uuid import uuid4

from amulet_integrations.errors import AmuletError
from amulet_integrations.personalization.saved_presets import presets_version
from amulet_integrations.personalization.user_resolution import PreferenceSelection

from .client_llm import ClientLLM

_SALT = token_bytes(32)  # so that a digest reveals nothing outside of this process


def cache_identity(llm: ClientLLM) -> str | None:
    """A digest of whom a model answers for and how, which holds in this process.

    It reads the store and does not load the model.

    Returns:
        The digest; None where nobody is named.
    """
    try:
        selection = llm.resolve_user(PreferenceSelection())
        if not selection.is_set:
            return None
        personalizer = replace(llm.personalizer, on_unknown_user=None)
        identity = personalizer.personalize(selection, saved=False).fingerprint
        if llm.saved_presets:
            identity += presets_version()
    except AmuletError:
        identity = uuid4().hex  # a call will fail; until then no other model is like this one
    return hashlib.blake2b(identity.encode(), key=_SALT).hexdigest()
