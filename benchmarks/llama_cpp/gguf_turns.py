"""A conversation on llama.cpp: time to the first token by turn."""

from __future__ import annotations

from functools import partial

from amulet_integrations.engine import LocalEngine
from benchmarks.speed import turns
from benchmarks.support.timing import FULL, Effort, Figures

from .gguf_files import gguf_file, has_llama_cpp

PLOTS = turns.PLOTS


def measure(kind: str, effort: Effort = FULL) -> Figures:
    """Milliseconds to the first token of every turn, with and without what was read before.

    Args:
        kind: The type of the file's weights.
        effort: How much is measured.
    """
    if not has_llama_cpp():
        return {}
    with gguf_file(kind) as file:
        return turns.by_turn(partial(LocalEngine.from_pretrained, str(file)), effort)
