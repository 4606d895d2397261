"""LangChain: a chat model whose answers follow each user's own preferences.

The chat model needs langchain-core alone. What goes with agents and graphs needs LangChain and
LangGraph as well, and is imported on first use.
"""

from amulet_integrations._exports import attach_exports
from amulet_integrations.errors import MissingDependencyError

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra("langchain-core", "langchain") from error

from .chat_model import ChatAmulet  # noqa: F401 - errors come at once

__getattr__, __dir__, __all__ = attach_exports(
    __name__, __file__, extras={"langchain": "agents", "langgraph": "agents"}
)
