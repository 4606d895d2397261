"""Tables and facts in GitHub's Markdown, in which no name is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from amulet_integrations.evaluation.reporting.text_tables import Cell, TextTable
from amulet_integrations.terminal_text import one_line

# Underscores between letters are themselves. Addresses become links without any brackets.
_MARKUP = re.compile(
    r"[\\|`*\[\]<>~&!#$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)


def to_markdown(table: TextTable) -> str:
    """The table in GitHub's Markdown, the best of each column in bold."""
    grouped = any(group.label for group in table.groups)
    header = [*[" "] * grouped, *map(escaped, table.header)]
    words = table.labels + grouped
    rule = [":--"] * words + ["--:"] * (len(header) - words)
    lines = [f"### {escaped(table.title)}", ""]
    if table.caption:
        lines += [escaped(table.caption), ""]
    lines += [_line(header), _line(rule)]
    for group in table.groups:
        for number, row in enumerate(group.rows):
            label = [escaped(group.label) if number == 0 else " "] * grouped
            lines.append(_line(label + [_cell(cell) for cell in row]))
    return "\n".join(lines) + "\n"


def list_in_markdown(facts: Iterable[tuple[str, str]]) -> str:
    """Facts as a list, each with its name in bold."""
    return "".join(f"- **{escaped(name)}**: {escaped(value)}\n" for name, value in facts)


def escaped(text: str) -> str:
    """A text on one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = f"**{escaped(cell.text)}**" if cell.strong else escaped(cell.text)
    return f"{text} {cell.small}".rstrip()
