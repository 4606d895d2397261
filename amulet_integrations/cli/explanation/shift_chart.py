"""The shift along an answer as lines of blocks, one column for one token or for several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.style import Style
from rich.text import Text

from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.explanation.tints import SATURATION
from amulet_integrations.explanation.wording import whole_nats

from .terminal_tints import Tints

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HANGING = " ▔▔▀▀▀▀██"  # there are no others that hang down
_EIGHTHS = 8
_ROWS_UP = 2
_MARGIN = 4


def shift_chart(explanation: Explanation, tints: Tints, width: int) -> Iterator[Text]:
    """Yields the lines: bars upwards for likelier tokens, and downwards for less likely ones.

    Where the tokens are more than the columns, a column shows the one that was moved most.
    """
    columns = _columns([token.shift for token in explanation.tokens], max(1, width - _MARGIN))
    count = len(explanation.tokens)
    yield Text(f"Shift along the answer, tokens 1 to {count:,}", style="bold")
    up, down = Style.parse(tints.likelier), Style.parse(tints.less_likely)
    for row in range(_ROWS_UP, 0, -1):
        line = Text(_margin(whole_nats(SATURATION) if row == _ROWS_UP else ""), style="dim")
        blocks = "".join(_BLOCKS[_filled(shift, row, _ROWS_UP)] for shift in columns)
        yield line.append(blocks, Style(dim=False) + up)
    line = Text(_margin(whole_nats(-SATURATION)), style="dim")
    blocks = "".join(_HANGING[_filled(-shift, 1, 1)] for shift in columns)
    yield line.append(blocks, Style(dim=False) + down)
    yield Text()


def _columns(shifts: Sequence[float], width: int) -> list[float]:
    if len(shifts) <= width:
        return list(shifts)
    edges = [round(at * len(shifts) / width) for at in range(width + 1)]
    return [max(shifts[start:end], key=abs) for start, end in pairwise(edges)]


def _filled(shift: float, row: int, rows: int) -> int:
    """How many eighths of a row a bar fills; row 1 is next to the line of 0."""
    share = min(max(shift, 0.0), SATURATION) / SATURATION
    return min(max(math.floor(share * rows * _EIGHTHS + 0.5) - (row - 1) * _EIGHTHS, 0), _EIGHTHS)


def _margin(text: str) -> str:
    return f"{text:>{_MARGIN - 1}} "
