"""LlamaIndex's language model, answering each user as that user likes."""

from amulet_integrations.errors import MissingDependencyError

try:
    from amulet_integrations.llama_index.llm import AmuletLLM
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    raise MissingDependencyError.for_extra("llama-index-core", "llama-index") from error

__all__ = ["AmuletLLM"]
