"""`AmuletLLM` and what goes with it, where LlamaIndex's integrations are found.

All of it is `amulet_integrations.llama_index`.
"""

from typing import Any

from amulet_integrations import llama_index as _llama_index

__all__ = list(_llama_index.__all__)


def __getattr__(name: str) -> Any:
    return getattr(_llama_index, name)


def __dir__() -> list[str]:
    return __all__
