"""An explanation in the terminal: tinted text, or a table of all tokens without colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from amulet_integrations.cli import terminal
from amulet_integrations.explanation.explained_tokens import ExplainedToken
from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.explanation.shown_tokens import MovedToken, legend, most_moved
from amulet_integrations.explanation.tints import LEVELS, shift_level
from amulet_integrations.explanation.visible_text import NOTHING, flat, label, visible_runs
from amulet_integrations.explanation.wording import (
    mover_name,
    nats,
    percentage,
    strength,
    strength_note,
    summary,
)

from .shift_chart import shift_chart
from .terminal_tints import Tints

_MOST_MOVED = 10
_WIDTH_WITH_SURROUNDINGS = 88
_LEGEND_CELLS = 10  # of each of the five numbers of the legend


def print_explanation(explanation: Explanation, console: Console | None = None) -> None:
    """Prints an explanation: tinted on a terminal with colours, otherwise a table of all tokens.

    Args:
        explanation: The explanation. None of its texts steers the terminal.
        console: Where to print it; standard output by default.
    """
    console = console or terminal.console()
    if Tints.for_console(console) is not None:
        console.print(ExplanationView(explanation))
        return
    for line in plain_lines(explanation):
        console.print(Text(line), soft_wrap=True)


class ExplanationView:
    """An explanation in colours.

    Args:
        explanation: The explanation.
    """

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        explained = self._explanation
        tints = Tints.for_console(console) or Tints.sixteen()
        for name, text in _head(explained):
            yield Text.assemble((f"{name}: ", "dim"), text)
        yield Text()
        yield from _legend(tints)
        yield Text()
        yield _answer(explained, tints)
        yield Text()
        if explained.tokens:
            yield from shift_chart(explained, tints, options.max_width)
        rows = most_moved(explained, _MOST_MOVED)
        if rows:
            yield Text("Tokens most moved", style="bold")
            yield _table(rows, tints, around=options.max_width >= _WIDTH_WITH_SURROUNDINGS)
        else:
            yield Text("No token was moved.", style="dim")
        yield Text(
            "base: no preference; pref: preferences in the prompt; policy: what it was drawn from",
            style="dim",
        )


def plain_lines(explanation: Explanation) -> Iterator[str]:
    """The lines of an explanation without colours: its head, the answer and all of its tokens."""
    for name, text in _head(explanation):
        yield f"{name}: {text}"
    yield ""
    yield from map(flat, explanation.answer.split("\n"))
    yield ""
    yield "Shift: + likelier, - less likely than base; a sign for each half nat, 8 at most."
    names = ["token", "shift", "nats", "base", "pref", "policy", "strength", "moved by", ""]
    rows = [names, *(_plain_row(explanation, token) for token in explanation.tokens)]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    numbers = set(names[2:7])
    aligned = [_aligned(column, to_the_right=column[0] in numbers) for column in columns]
    places = _aligned(("", *map(str, range(1, len(rows)))), to_the_right=True)
    for cells in zip(places, *aligned, strict=True):
        yield "  ".join(cells).rstrip()


def _head(explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield "Question", _line(explanation.question)
    for it in explanation.preferences:
        name = f"Preference {label(it.name)}" if it.name else "Preference"
        yield f"{name} (weight {strength(it.weight)})", _line(it.text)
    for it in explanation.left_out:
        yield "Left out by the gate", _line(it.text)
    bound = "none" if explanation.max_kl is None else f"{strength(explanation.max_kl)} nats a token"
    method = explanation.method.replace("_", " ")
    yield "Model", _line(explanation.model_name)
    yield "Decoding", f"{method}, strength {strength(explanation.guidance_scale)}, bound {bound}"
    yield "Answer", summary(explanation)


def _legend(tints: Tints) -> Iterator[Text]:
    ticks = legend()
    width = _LEGEND_CELLS * len(ticks)
    levels = (round((2 * at / (width - 1) - 1) * LEVELS) for at in range(width))
    yield Text.assemble(*((" ", tints.style(level)) for level in levels))
    first, *inner, last = (tick.nats for tick in ticks)
    middle = "".join(text.center(_LEGEND_CELLS) for text in inner)
    yield Text(f"{first:<{_LEGEND_CELLS}}{middle}{last:>{_LEGEND_CELLS}} nats")
    ends, between = (ticks[0].words, ticks[-1].words), ticks[len(ticks) // 2].words
    room = width - sum(map(len, ends))
    yield Text(f"{ends[0]}{between:^{room}}{ends[1]}", style="dim")


def _answer(explanation: Explanation, tints: Tints) -> Text:
    """The text of the tokens; a line break stands behind its sign."""
    text = Text()
    for token in explanation.tokens:
        style = tints.style(shift_level(token.shift))
        if not token.text:
            text.append(NOTHING, style)
        for run in visible_runs(token.text):
            text.append(run.sign or run.text, style)
            if run.text == "\n":
                text.append("\n")
    return text


def _table(rows: list[MovedToken], tints: Tints, *, around: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="dim", border_style="dim", pad_edge=False)
    table.add_column("shift", justify="right", no_wrap=True)
    table.add_column(Text("token"), no_wrap=True, overflow="ellipsis")
    for name in ("base", "pref", "policy", "strength"):
        table.add_column(name, justify="right", no_wrap=True)
    widest = max(cell_len(row.before) for row in rows)
    movers = any(row.mover for row in rows)
    if movers:
        table.add_column("moved by", no_wrap=True, overflow="ellipsis")
    for row in rows:
        token = row.token
        shown = Text.assemble((row.label, tints.style(row.level)))
        if around:
            room = " " * (widest - cell_len(row.before))
            shown = Text.assemble(room, (row.before, "dim"), shown, (row.after, "dim"))
        table.add_row(
            nats(token.shift, signed=True),
            shown,
            *(percentage(it.logprob) for it in (token.base, token.pref, token.policy)),
            strength(token.guidance_scale),
            *([Text(row.mover)] if movers else []),
        )
    return table


def _line(text: str) -> str:
    return flat(" ".join(text.split()))


def _plain_row(explanation: Explanation, token: ExplainedToken) -> list[str]:
    level = shift_level(token.shift)
    return [
        label(token.text),
        ("+" if level > 0 else "-") * abs(level),
        nats(token.shift, signed=True),
        *(percentage(it.logprob) for it in (token.base, token.pref, token.policy)),
        strength(token.guidance_scale),
        mover_name(explanation, token),
        strength_note(explanation, token),
    ]


def _aligned(column: Sequence[str], *, to_the_right: bool) -> list[str]:
    """The cells of a column, as wide as its widest on a terminal."""
    width = max(map(cell_len, column))
    if to_the_right:
        return [" " * (width - cell_len(cell)) + cell for cell in column]
    return [set_cell_size(cell, width) for cell in column]
