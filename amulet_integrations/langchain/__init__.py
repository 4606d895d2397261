"""LangChain: a chat model whose answers follow each user's own preferences."""

from amulet_integrations.errors import MissingDependencyError

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra("langchain-core", "langchain") from error

from amulet_integrations.langchain.chat_model import ChatAmulet

__all__ = ["ChatAmulet"]
