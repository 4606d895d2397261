"""LangChain's own standard suite of what needs no answers."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_tests.unit_tests import ChatModelUnitTests

from amulet_integrations.langchain import ChatAmulet

loading: Any = importlib.import_module("langchain_core.load.load")


class TestStandard(ChatModelUnitTests):
    """On the embedded model, which is named and not loaded."""

    supports_json_mode = True
    supports_anthropic_inputs = True

    @property
    def chat_model_class(self) -> type[ChatAmulet]:
        return ChatAmulet

    @pytest.fixture(autouse=True)
    def _allow_loading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What the suite calls "all" is a list of LangChain's own packages; ours has to be named, as
        # users do by allowed_objects=[ChatAmulet].
        allowed = loading._get_default_allowed_class_paths("all") | {tuple(ChatAmulet.lc_id())}
        monkeypatch.setitem(loading._default_class_paths_cache, "all", allowed)

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        variables = {
            "AMULET_MODEL": "embedded",
            "AMULET_DTYPE": "float32",
            "AMULET_DEVICE": "cpu",
            "AMULET_PROFILES": "sqlite:///somewhere.db",
        }
        fields = {name.removeprefix("AMULET_").lower(): value for name, value in variables.items()}
        return variables, {}, fields
