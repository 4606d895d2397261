"""LangChain's own standard suite, as far as this model claims its features."""

from __future__ import annotations

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_tests.unit_tests import ChatModelUnitTests

from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet


class TestStandard(ChatModelUnitTests):
    """Tools and structured output are not claimed."""

    has_tool_calling = False
    has_structured_output = False

    @property
    def chat_model_class(self) -> type[ChatAmulet]:
        return ChatAmulet

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"engine": self.engine}

    @pytest.fixture(autouse=True)
    def _give_engine(self, tiny_engine: LocalEngine) -> None:
        self.engine = tiny_engine
