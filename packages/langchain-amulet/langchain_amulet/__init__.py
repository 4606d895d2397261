"""`ChatAmulet` and what goes with it, by the name that LangChain's integrations have.

All of it is `amulet_integrations.langchain`. What agents need is imported on first use.
"""

from typing import Any

from amulet_integrations import langchain as _langchain

__all__ = list(_langchain.__all__)


def __getattr__(name: str) -> Any:
    return getattr(_langchain, name)


def __dir__() -> list[str]:
    return __all__
