"""LlamaIndex's language model, answering each user as that user likes, and a store of profiles."""

import lazy_loader

from amulet_integrations.errors import MissingDependencyError

try:
    from .llm import AmuletLLM  # noqa: F401 - errors come at once
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    raise MissingDependencyError.for_extra("llama-index-core", "llama-index") from error

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
