"""Writes the tables of docs/models.md from what `make acceptance` has found.

python -m tests.support.families.report
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from . import FAMILIES, WINDOW_NAMES, Family
from .trials import TRIALS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "models.md"
CACHE_KEY = "acceptance/families"
RIGHT = "right"
TABLE = "(?<=<!-- {0} -->\n).*?(?=<!-- end of {0} -->)"

Outcome = Mapping[str, str]
"""What came of each trial; of "load" alone where a family is refused."""


def main() -> None:
    found = ROOT / ".pytest_cache" / "v" / CACHE_KEY
    outcomes = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    if missing := [name for name in FAMILIES if name not in outcomes]:
        sys.exit(f"Not tried yet: {', '.join(missing)}. Run make acceptance first.")
    if wrong := [name for name in FAMILIES if not _is_right(FAMILIES[name], outcomes[name])]:
        sys.exit(f"Not what the page would say: {', '.join(wrong)}.")
    page = PAGE.read_text(encoding="utf-8")
    for title, table in (("runs", _runs()), ("refused", _refused())):
        page = table.join(re.split(TABLE.format(title), page, flags=re.DOTALL))
    PAGE.write_text(page, encoding="utf-8")


def _is_right(family: Family, outcome: Outcome) -> bool:
    trials = ("load",) if family.refused else TRIALS
    return all(outcome.get(trial) == RIGHT for trial in trials)


def _runs() -> str:
    rows = ["| family | what is special | window |", "|---|---|:-:|"]
    rows += [
        f"| {_code(family)} | {family.special} | {_window(family)} |"
        for _, family in sorted(FAMILIES.items())
        if not family.refused
    ]
    return "\n".join(rows) + "\n"


def _refused() -> str:
    rows = ["| family | what it has |", "|---|---|"]
    rows += [
        f"| {_code(family)} | {family.special} |"
        for _, family in sorted(FAMILIES.items())
        if family.refused
    ]
    return "\n".join(rows) + "\n"


def _code(family: Family) -> str:
    model_type, comma, variant = family.name.partition(",")
    return f"`{model_type}`{comma}{variant}"


def _window(family: Family) -> str:
    if family.ignores_window:
        return "unread"
    sizes = [str(family.options[name]) for name in WINDOW_NAMES if name in family.options]
    return sizes[0] if sizes else ""


if __name__ == "__main__":
    main()
