"""Local language models behind LangChain and LlamaIndex that answer each user as that user likes.

Importing this package imports neither torch nor transformers nor a framework: names are imported
from their modules on first use.
"""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations import errors
    from amulet_integrations.decoding import AmuletParams, SamplingParams
    from amulet_integrations.profiles import (
        InMemoryProfileStore,
        Preference,
        PreferenceProfile,
        SqlProfileStore,
        preference_scope,
    )

__version__ = "0.1.0"

__all__ = [
    "AmuletParams",
    "InMemoryProfileStore",
    "Preference",
    "PreferenceProfile",
    "SamplingParams",
    "SqlProfileStore",
    "errors",
    "preference_scope",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".decoding": ("AmuletParams", "SamplingParams"),
        ".profiles": (
            "InMemoryProfileStore",
            "Preference",
            "PreferenceProfile",
            "SqlProfileStore",
            "preference_scope",
        ),
        ".errors": (),
    },
)
