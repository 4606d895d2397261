"""Local language models behind LangChain and LlamaIndex, answering each user as that user likes.

Importing this package imports neither torch nor transformers nor a framework: names are looked
up in their modules on first use.
"""

from amulet_integrations._lazy import lazy_exports

_EXPORTS = {
    "AmuletParams": ".decoding.params",
    "SamplingParams": ".decoding.sampling_params",
    "Preference": ".profiles",
    "PreferenceProfile": ".profiles",
    "InMemoryProfileStore": ".profiles",
    "SqlProfileStore": ".profiles",
    "preference_scope": ".profiles",
    "errors": ".errors",
}

__version__ = "0.1.0"
__all__ = [*_EXPORTS, "__version__"]  # noqa: PLE0604 - the names above, in one place
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
