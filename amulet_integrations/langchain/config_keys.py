"""Keys of configs and runtime contexts that were probably meant for us, and that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, NamedTuple

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.profiles import Preference, PreferenceProfile

READ_KEYS = ("user_id", "preference_context", "guidance_scale", "preset", "max_kl", "gate")
"""The keys of ``config["configurable"]`` that are read."""

# These are read from calls only. Applications use such keys too, so the type of the value decides.
_OF_CALLS: dict[str, tuple[type, ...]] = {
    "preference": (str, Preference),
    "preferences": (str, Preference),
    "profile": (PreferenceProfile,),
    "params": (AmuletParams,),
}
# Other words for them. Applications use these too, so again the type of the value decides.
_OTHER_WORDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "user": ("user_id", (str,)),
    **dict.fromkeys(("guidance", "strength"), ("guidance_scale", (int, float))),
    "kl": ("max_kl", (int, float)),
    "prefcontext": ("preference_context", (str, dict)),
}
_NEAR = 0.83
_LONG_ENOUGH = 6  # letters; shorter names resemble too many words


class UnreadKey(NamedTuple):
    """A key that nobody reads.

    Attributes:
        key: The key.
        meant: The key or argument that was probably meant.
        is_argument: Whether it is an argument of calls.
    """

    key: str
    meant: str
    is_argument: bool

    def describe(self, owner: str) -> str:
        """Says what to write instead; quotes no value."""
        start = f"{owner}[{self.key!r}] is not read."
        if self.is_argument:
            return f"{start} Pass {self.meant}= to the call, or bind it to the model."
        return f"{start} Did you mean {self.meant!r}?"


def find_unread_keys(
    given: Mapping[str, Any], names: tuple[str, ...] = READ_KEYS
) -> Iterator[UnreadKey]:
    """Finds misspelt keys, and arguments of calls that stand among the keys.

    Keys of others, such as ``thread_id``, are left alone. So is a key that resembles one that is
    given as well.

    Args:
        given: The config's ``configurable``, or a runtime context.
        names: The keys that are read.
    """
    for key, value in given.items():
        if isinstance(key, str) and key not in names and value is not None:
            meant = _meant(key, value, names)
            if meant is not None and (meant == key or given.get(meant) is None):
                yield UnreadKey(key, meant, is_argument=meant not in names)


def _meant(key: str, value: Any, names: tuple[str, ...]) -> str | None:
    if (kinds := _OF_CALLS.get(key)) is not None and names == READ_KEYS:
        values = value if isinstance(value, list | tuple) and value else [value]
        meant = "preference" if key == "preferences" else key
        return meant if all(isinstance(one, kinds) for one in values) else None
    if (other := _OTHER_WORDS.get(_letters(key))) is not None:
        name, types = other
        return name if name in names and isinstance(value, types) else None
    near = _near_name(key, names)
    if near == "preset" and _letters(key) != near:
        return near if isinstance(value, str) and value in PRESETS else None
    return near


@lru_cache(maxsize=1024)
def _near_name(key: str, names: tuple[str, ...]) -> str | None:
    plain = _letters(key)
    return next((name for name in names if _is_near(plain, _letters(name))), None)


def _is_near(key: str, name: str) -> bool:
    if len(name) < _LONG_ENOUGH or key[:1] != name[:1]:
        return key == name
    return SequenceMatcher(None, key, name).ratio() >= _NEAR


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
