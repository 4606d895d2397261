"""Coverage by area of the package, out of the report of `coverage json`: run by `make coverage`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

COLUMNS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def by_area(report: Path) -> dict[str, Counter[str]]:
    """Sums up the files of each area: a folder of the package, or "." for its own files."""
    areas: dict[str, Counter[str]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        parts = Path(name).parts
        area = parts[1] if len(parts) > 2 else "."
        counts = {column: file["summary"][column] for column in COLUMNS}
        areas.setdefault(area, Counter()).update(counts)
    return areas


def table(areas: dict[str, Counter[str]]) -> str:
    """The areas, and all of them together, with the shares of lines and branches that ran."""
    total: Counter[str] = sum(areas.values(), Counter())
    lines = [f"{'area':<16}{'lines':>8}{'ran':>8}{'branches':>10}{'taken':>8}"]
    for area, it in [*sorted(areas.items()), ("all", total)]:
        lines.append(
            f"{area:<16}{it['num_statements']:>8}"
            f"{_share(it['covered_lines'], it['num_statements']):>8}"
            f"{it['num_branches']:>10}{_share(it['covered_branches'], it['num_branches']):>8}"
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


if __name__ == "__main__":
    print(table(by_area(Path(sys.argv[1]))))  # noqa: T201 - what it is for
