"""LangChain: a chat model whose answers follow each user's own preferences.

The chat model needs langchain-core alone. What goes with agents and graphs needs LangChain and
LangGraph as well, and is imported on first use.
"""

from typing import Any

import lazy_loader

from amulet_integrations.errors import MissingDependencyError

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra("langchain-core", "langchain") from error

from .chat_model import ChatAmulet  # noqa: F401 - errors come at once

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("langchain", "langgraph"):
            raise MissingDependencyError.for_extra(package, "agents") from error
        raise
