"""LangChain: a chat model whose answers follow each user's own preferences.

The chat model needs langchain-core alone. What goes with agents and graphs needs LangChain and
LangGraph as well, and is imported on first use.
"""

from typing import TYPE_CHECKING, Any

from amulet_integrations._lazy import lazy_exports
from amulet_integrations.errors import MissingDependencyError

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra("langchain-core", "langchain") from error

from amulet_integrations.langchain.chat_model import ChatAmulet

if TYPE_CHECKING:
    from amulet_integrations.langchain.agents.langgraph_store import LangGraphProfileStore
    from amulet_integrations.langchain.agents.middleware import PreferenceMiddleware
    from amulet_integrations.langchain.agents.preference_tools import (
        forget_preference,
        preference_tools,
        remember_preference,
    )

__all__ = [
    "ChatAmulet",
    "LangGraphProfileStore",
    "PreferenceMiddleware",
    "forget_preference",
    "preference_tools",
    "remember_preference",
]

_of_agents, __dir__ = lazy_exports(
    __name__,
    {
        ".chat_model": ("ChatAmulet",),
        ".agents.middleware": ("PreferenceMiddleware",),
        ".agents.preference_tools": (
            "forget_preference",
            "preference_tools",
            "remember_preference",
        ),
        ".agents.langgraph_store": ("LangGraphProfileStore",),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _of_agents(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("langchain", "langgraph"):
            raise MissingDependencyError.for_extra(package, "agents") from error
        raise
