"""Families of models as tiny random checkpoints: which can be run, and which are refused."""

from __future__ import annotations

from .dense import DENSE
from .experts import WITH_EXPERTS
from .family import WINDOW_NAMES, Family, tiny_checkpoint
from .refused import REFUSED
from .windowed import WINDOWED

FAMILIES = {each.name: each for each in (*DENSE, *WINDOWED, *WITH_EXPERTS, *REFUSED)}

__all__ = ["FAMILIES", "WINDOW_NAMES", "Family", "tiny_checkpoint"]
