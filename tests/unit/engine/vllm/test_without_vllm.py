"""`VLLMEngine` where vLLM is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from amulet_integrations.engine import VLLMEngine
from amulet_integrations.errors import MissingDependencyError


def test_making_one_says_what_to_install(monkeypatch):
    monkeypatch.setattr("amulet_integrations.engine.vllm.start_up.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"vLLM is not .*pip install \"vllm>=0"):
        VLLMEngine("embedded")


def test_importing_it_imports_no_vllm():
    code = "import sys, amulet_integrations.engine as e; e.VLLMEngine; print('vllm' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
