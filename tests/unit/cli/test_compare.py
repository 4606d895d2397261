"""`amulet compare`, plain and on a terminal."""

from __future__ import annotations

import re

import pytest

from amulet_integrations.decoding import AmuletParams, amulet_weights, linear_alignment_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import GenerationError
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.oracle import BOUND, SCALE, answer, visible
from tests.unit.cli.terminal import Terminal
from tests.unit.cli.test_chat import shown

QUESTION = "How do I make tea?"
PREFERENCE = "Be brief."
# The tiny engine answers this with an escape character under this preference.
ESCAPING = "Be brief"
SHORT = ("--max-tokens", "12")
WEIGHTS = {
    "base": (1.0, 0.0),
    "pref": (0.0, 1.0),
    "linear alignment": linear_alignment_weights(),
    "Amulet": amulet_weights(AmuletParams(iterations=2)),
}
BOUNDS = {label: BOUND if label == "Amulet" else None for label in WEIGHTS}


def sections(output: str) -> dict[str, str]:
    """The answers of plain output, by their heads."""
    _, *parts = re.split(r"^--- (.*) ---\n", output, flags=re.MULTILINE)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


class Recording:
    """An engine that remembers its requests, and fails one of them after two steps if it should."""

    def __init__(
        self,
        engine: LocalEngine,
        fail_at: int | None = None,
        failure: BaseException | None = None,
    ) -> None:
        self._failure = failure or GenerationError("the model [bold]broke[/bold]")
        self._engine = engine
        self._fail_at = fail_at
        self.requests: list[GenerationRequest] = []
        self.events: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def stream(self, request: GenerationRequest) -> object:
        self.events.append("submit")
        place = len(self.requests)
        self.requests.append(request)
        return self._read(self._engine.stream(request), place)

    def _read(self, stream, place: int):
        for step, increment in enumerate(stream):
            self.events.append("read")
            if place == self._fail_at and step == 2:
                raise self._failure
            yield increment


def test_each_section_is_what_the_engine_answers(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    command = ("compare", QUESTION, "--preference", PREFERENCE, "--iterations", "2", *SHORT)
    answers = []
    for max_kl, typed in [(None, "none"), (0.05, "0.05")]:
        result = amulet(*command, "--max-kl", typed)

        assert result.exit_code == 0, result.stderr
        found = {head.partition(" (")[0]: text for head, text in sections(result.stdout).items()}
        assert found == {
            label: shown(
                answer(tiny_engine, [QUESTION], PREFERENCE, weights, max_kl=max_kl)
            ).strip()
            for label, weights in WEIGHTS.items()
        }
        answers += found.values()
    assert len(set(answers)) > 4


def test_heads_contain_scale_and_tokens(amulet: Amulet) -> None:
    result = amulet("compare", QUESTION, "--preference", PREFERENCE, "--iterations", "2", *SHORT)

    assert list(sections(result.stdout)) == [
        "base (guidance scale 0, 12 tokens (cut))",
        "pref (guidance scale 1, 12 tokens (cut))",
        "linear alignment (guidance scale 3, 12 tokens (cut))",
        f"Amulet (guidance scale 2.46, KL ≤ {BOUND:g}, 12 tokens (cut))",
    ]


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ((), f"{SCALE:g}, KL ≤ {BOUND:g}"),
        (("--preset", "paper"), "5.65"),
        (("--guidance-scale", "3.5"), f"3.5, KL ≤ {BOUND:g}"),
        (("--guidance-scale", "0.5"), "0.5"),
        (("--guidance-scale", "0.5", "--max-kl", "0.25"), "0.5, KL ≤ 0.25"),
        (("--preset", "paper", "--max-kl", "0.25"), "5.65, KL ≤ 0.25"),
        (("--max-kl", "None"), f"{SCALE:g}"),
    ],
    ids=str,
)
def test_strength_is_shown_in_each_way(
    amulet: Amulet, options: tuple[str, ...], strength: str
) -> None:
    command = ("compare", QUESTION, "--preference", PREFERENCE, "--max-tokens", "1")
    result = amulet(*command, *options)

    assert f"Amulet (guidance scale {strength}, 1 token (cut))" in sections(result.stdout)


@pytest.mark.parametrize("command", ["compare", "chat", "profile set"])
@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("--max-kl", "-0.5"), "0 or more, such as 0.2, or none"),
        (("--max-kl", "nan"), "0 or more, such as 0.2, or none"),
        (("--max-kl", "much"), "0 or more, such as 0.2, or none"),
        (("--guidance-scale", "nan"), "give a finite number"),
        (("--guidance-scale", "2", "--preset", "strong"), "Say the strength in one way"),
        (("--guidance-scale", "1000"), "--guidance-scale"),
        (("--preset", "bold"), "gentle"),
    ],
    ids=str,
)
def test_a_bad_strength_is_refused(
    amulet: Amulet, db: str, command: str, options: tuple[str, ...], remedy: str
) -> None:
    command = {
        "compare": ("compare", QUESTION, "--preference", PREFERENCE),
        "chat": ("chat", "--preference", PREFERENCE),
        "profile set": ("profile", "set", "ann", "--preference", PREFERENCE, "--profiles", db),
    }[command]
    result = amulet(*command, *options, engine=None, stdin=QUESTION)
    assert result.exit_code == 2
    assert remedy in " ".join(result.stderr.replace("│", " ").split())


def test_several_preferences_share_the_base(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    others = ("--preference", PREFERENCE, "--preference", "Use lists.")
    result = amulet("compare", QUESTION, *others, "--iterations", "2", *SHORT)

    heads = re.findall(r"^--- ([\w ]+?) \(|^Preference: (.*)$", result.stdout, re.MULTILINE)
    each = ["pref", "linear alignment", "Amulet"]
    assert [label or text for label, text in heads] == [
        "base", PREFERENCE, *each, "Use lists.", *each,
    ]  # fmt: skip
    last = answer(tiny_engine, [QUESTION], "Use lists.", WEIGHTS["Amulet"])
    assert result.stdout.strip().endswith(shown(last).strip())


def test_all_are_submitted_before_any_is_read(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Recording(tiny_engine)
    amulet("compare", QUESTION, "--preference", "a", "--preference", "b", *SHORT, engine=engine)

    assert engine.events[:7] == ["submit"] * 7
    assert engine.events[7:9] == ["read"] * 2


def test_options_reach_the_requests(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Recording(tiny_engine)
    sampling = ("--temperature", "0.5", "--seed", "7", "--max-tokens", "3")
    amulet(
        "compare",
        QUESTION,
        "--preference",
        "x",
        "--system",
        "Talk as Bo.",
        *sampling,
        engine=engine,
    )

    for request in engine.requests:
        assert "Talk as Bo." in tiny_engine.tokenizer.decode(request.contexts[0])
        used = request.sampling
        assert (used.temperature, used.seed, used.max_new_tokens) == (0.5, 7, 3)


def test_one_that_fails_leaves_the_others(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Recording(tiny_engine, fail_at=1)
    result = amulet("compare", QUESTION, "--preference", PREFERENCE, *SHORT, engine=engine)

    base, pref, aligned, _ = sections(result.stdout).values()
    assert base == answer(tiny_engine, [QUESTION]).strip()
    assert pref.endswith("Error: the model [bold]broke[/bold]")
    assert (
        aligned
        == visible(answer(tiny_engine, [QUESTION], PREFERENCE, (-2.0, 3.0), max_kl=None)).strip()
    )
    assert result.exit_code == 1
    assert result.stderr == "Error: the model [bold]broke[/bold]\n"


def test_a_context_that_is_too_long_is_reported_in_its_place(
    amulet: Amulet, tiny_engine: LocalEngine
) -> None:
    result = amulet("compare", QUESTION, "--preference", "zq" * 900, *SHORT)

    base, *others = sections(result.stdout).values()
    assert base == answer(tiny_engine, [QUESTION]).strip()
    assert all("context window" in text for text in others)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_hostile_text_is_shown_and_not_obeyed(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    raw = answer(tiny_engine, [ESCAPING], PREFERENCE, WEIGHTS["pref"])
    assert "\x1b" in raw

    result = amulet("compare", ESCAPING, "--preference", PREFERENCE, *SHORT)
    assert "\x1b" not in result.stdout
    assert raw.strip().replace("\x1b", "␛") in result.stdout

    result = amulet(
        "compare", "a\x1b[2Jb [red]x[/red]", "--preference", "[red]x[/red] :smile:", *SHORT
    )
    assert "Question: a␛[2Jb [red]x[/red]\n" in result.stdout
    assert "Preference: [red]x[/red] :smile:\n" in result.stdout


def test_ctrl_c_ends_it_quietly(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Recording(tiny_engine, fail_at=2, failure=KeyboardInterrupt())
    result = amulet("compare", QUESTION, "--preference", PREFERENCE, *SHORT, engine=engine)

    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


def last_table(text: str) -> str:
    return text[text.rindex("╭") : text.rindex("╯") + 1]


def rows(table: str) -> list[list[str]]:
    """What stands in each cell, its lines joined, without the commas between them."""
    found = []
    for row in re.split("├.*┤", table):
        lines = [line.strip("│").split("│") for line in row.splitlines() if line.startswith("│")]
        cells = [" ".join(column).replace(",", "") for column in zip(*lines, strict=True)]
        found.append([" ".join(cell.split()) for cell in cells])
    return found


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_there_is_a_table(
    terminal: Terminal, tiny_engine: LocalEngine, width: int
) -> None:
    with terminal(width) as screen:
        code = screen.run(
            tiny_engine,
            "compare",
            QUESTION,
            "--preference",
            PREFERENCE,
            "--iterations",
            "2",
            *SHORT,
        )

    assert code == 0
    assert {len(line) for line in last_table(screen.text).splitlines()} == {width}
    heads, answers, feet = rows(last_table(screen.text))
    assert heads == [
        "base scale 0",
        "pref scale 1",
        "linear alignment scale 3",
        f"Amulet scale 2.46 KL ≤ {BOUND:g}",
    ]
    assert answers == [
        visible(answer(tiny_engine, [QUESTION], PREFERENCE, weights, max_kl=BOUNDS[label])).strip()
        for label, weights in WEIGHTS.items()
    ]
    assert feet == ["12 tokens (cut)"] * 4


def test_a_terminal_is_not_steered_by_text(terminal: Terminal, tiny_engine: LocalEngine) -> None:
    with terminal(100) as screen:
        screen.run(
            tiny_engine,
            "compare",
            "a\x1b]0;owned\x07b",
            "--preference",
            "[red]x[/red] :smile:",
            *SHORT,
        )

    assert "Question: a␛]0;owned␇b" in screen.text
    assert "\x1b]" not in screen.raw
    assert "Preference: [red]x[/red] :smile:" in screen.text


def test_a_narrow_terminal_gets_two_tables(terminal: Terminal, tiny_engine: LocalEngine) -> None:
    with terminal(40) as screen:
        screen.run(tiny_engine, "compare", QUESTION, "--preference", PREFERENCE, *SHORT)

    assert re.search(r"│ base +│ pref +│\n", screen.text)
    heads = rows(last_table(screen.text))[0]
    assert [head.partition(" scale")[0] for head in heads] == ["linear alignment", "Amulet"]
