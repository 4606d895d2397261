"""What a key looks like, and what of it is kept."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import NamedTuple

PREFIX = "amulet-"
ID_LENGTH = 12
ID_PATTERN = f"[0-9a-f]{{{ID_LENGTH}}}"
"""How the id of a key looks."""

HASH_PATTERN = "[0-9a-f]{64}"
"""How the hash of a key looks."""

_SECRET_BYTES = 32
_KEY = re.compile(f"{PREFIX}({ID_PATTERN})-[A-Za-z0-9_-]{{43}}")
_NOBODY = "0" * 64


class NewKey(NamedTuple):
    """A key that was just made.

    Attributes:
        key_id: Its id, which is no secret.
        text: The whole key; it is shown once and kept nowhere.
    """

    key_id: str
    text: str


def make_key() -> NewKey:
    """Makes a key whose secret has 256 bits from the system's source of randomness."""
    key_id = secrets.token_hex(ID_LENGTH // 2)
    return NewKey(key_id, f"{PREFIX}{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}")


def key_id_of(text: str) -> str | None:
    """The id in a key; None if the text is no key."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def hash_of(text: str) -> str:
    """The hash under which a key is kept, in hexadecimal.

    It is one SHA-256, and neither slow nor salted. Slow, salted hashes protect passwords, which can
    be guessed. Nobody guesses 256 random bits, however quick the hash is, and no two keys are
    alike.
    """
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def is_key(text: str, kept: str | None) -> bool:
    """Whether a text is the key that a hash was made of; takes the same time for every hash.

    Args:
        text: What a client sent.
        kept: The hash that is kept under the id in the text; None if there is none. The same work
            is done then, so that the time does not tell which ids there are.
    """
    is_equal = hmac.compare_digest(hash_of(text), _NOBODY if kept is None else kept)
    return is_equal and kept is not None
