"""LangChain's own standard suite of answers, on the embedded model.

What is skipped is media that a text model cannot read, and a test of timing from recorded traffic.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests.chat_models import ChatModelTests

from amulet_integrations.langchain import ChatAmulet
from tests.support.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.model

STRONGER = os.environ.get("AMULET_TEST_MODEL")
# Left alone, the embedded model's jokes go on for ever: answers are short to keep the suite quick.
MODEL = {"model": STRONGER or "embedded", "max_tokens": 48}


class TestStandard(ChatModelIntegrationTests):
    """Every feature of text is claimed; `AMULET_TEST_MODEL` names another model to run on."""

    supports_json_mode = True
    supports_anthropic_inputs = True

    @property
    def chat_model_class(self) -> type[ChatAmulet]:
        return ChatAmulet

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return MODEL

    @property
    def model_override_value(self) -> str:
        return self.other_model

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _save_other_model(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.other_model = str(_saved_tiny_model(tmp_path_factory.mktemp("other")))

    if STRONGER is None:

        @pytest.mark.xfail(
            raises=AssertionError,
            reason="Left to decide, the embedded model of 135M parameters does not call the tool "
            "but writes: 'The weather in San Francisco, CA, is typically described as a mix of "
            "warm and cool, with a high of 88°F (30°C) and a low of 61°F (18°C).'",
        )
        @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
        def test_agent_loop(self, model: BaseChatModel) -> None:
            super().test_agent_loop(model)


def _saved_tiny_model(folder: Path) -> Path:
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


class _StructuredOutputTests(ChatModelTests):
    """The suite's tests of structured output and no others, for the methods beside the default."""

    method: str
    max_tokens: int

    @property
    def chat_model_class(self) -> type[ChatAmulet]:
        return ChatAmulet

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**MODEL, "max_tokens": self.max_tokens}

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.method}

    test_structured_output = ChatModelIntegrationTests.test_structured_output
    test_structured_output_async = ChatModelIntegrationTests.test_structured_output_async
    test_structured_output_pydantic_2_v1 = (
        ChatModelIntegrationTests.test_structured_output_pydantic_2_v1
    )
    test_structured_output_optional_param = (
        ChatModelIntegrationTests.test_structured_output_optional_param
    )


@pytest.mark.acceptance
class TestStructuredOutputByCalls(_StructuredOutputTests):
    method, max_tokens = "function_calling", 44


@pytest.mark.acceptance
class TestStructuredOutputInJsonMode(_StructuredOutputTests):
    method, max_tokens = "json_mode", 32
