"""Writes the table of docs/choose_a_model.md.

python -m tests.support.families.memory_report
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from amulet_integrations.engine import MemoryEstimate, estimate_memory

from .instruct_models import INSTRUCT_MODELS, InstructModel

PAGE = Path(__file__).parents[3] / "docs" / "choose_a_model.md"
TABLE = re.compile(r"(?<=<!-- memory -->\n).*?(?=<!-- end of memory -->)", re.DOTALL)
DTYPES = ("float32", "bfloat16", "q4")
ONE, MANY = {"users": 1, "tokens": 2048}, {"users": 8, "tokens": 4096}
"""The load of the columns."""


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [(model, estimates(model)) for model in INSTRUCT_MODELS]
    PAGE.write_text(TABLE.sub(lambda _: table(rows), page), encoding="utf-8")


def estimates(model: InstructModel) -> list[MemoryEstimate]:
    """What a model needs for one user and for many, in each dtype."""
    return [
        estimate_memory(model.config, dtype=dtype, **load)
        for load in (ONE, MANY)
        for dtype in DTYPES
    ]


def table(rows: Sequence[tuple[InstructModel, Sequence[MemoryEstimate]]]) -> str:
    """The table, a row for each model."""
    lines = [
        "| | | | 1 user, 2,048 tokens | | | 8 users, 4,096 tokens | | |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
        "| **model** | **licence** | **weights** "
        + "| **float32** | **bfloat16** | **Q4** " * 2
        + "|",
    ]
    for model, found in rows:
        sizes = " | ".join(_gigabytes(each.total_bytes) for each in found)
        count = f"{found[0].parameters / 1e9:.3g}B"
        lines.append(f"| `{model.name}` | {model.licence} | {count} | {sizes} |")
    return "".join(f"{line}\n" for line in lines)


def _gigabytes(size: int) -> str:
    """Two digits, and upwards: what is said to be enough shall be enough."""
    tenths = -(-size // 10**8)
    return f"{tenths / 10:.1f}" if tenths < 100 else f"{-(-size // 10**9)}"


if __name__ == "__main__":
    main()
