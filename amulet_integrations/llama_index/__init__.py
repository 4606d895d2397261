"""LlamaIndex's language model, answering each user as that user likes, and a store of profiles."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports
from amulet_integrations.errors import MissingDependencyError

try:
    from amulet_integrations.llama_index.llm import AmuletLLM
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    raise MissingDependencyError.for_extra("llama-index-core", "llama-index") from error

if TYPE_CHECKING:
    from amulet_integrations.llama_index.kv_store import KVProfileStore

__all__ = ["AmuletLLM", "KVProfileStore"]
__getattr__, __dir__ = lazy_exports(__name__, {".kv_store": ("KVProfileStore",)})
