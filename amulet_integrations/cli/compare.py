"""`amulet compare`: one question answered under every method, decoded together."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Annotated

import typer
from rich.live import Live

from amulet_integrations.cli import screen
from amulet_integrations.cli.columns import Board, Section, headed
from amulet_integrations.cli.options import (
    GuidanceScale,
    Iterations,
    MaxKL,
    MaxTokens,
    Model,
    Preset,
    Seed,
    System,
    Temperature,
    examples,
    read_strength,
    strength_label,
)
from amulet_integrations.cli.session import open_engine, opening
from amulet_integrations.cli.stream_many import Answer, follow
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.backends.transformers.model_source import EMBEDDED
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.selection import PreferenceSelection, resolve_user
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import ChatMessage

EPILOG = examples(
    'amulet compare "How do I make tea?" --prefer "Be concise." --preset strong',
    'amulet compare "What is rain?" --prefer "Answer as a poet." --prefer "Use short words."',
)
_FOLLOWING: tuple[Method, ...] = ("pref", "linear_alignment", "amulet")
_DRAWN_PER_SECOND = 8


def compare(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask.", show_default=False)
    ],
    *,
    prefer: Annotated[
        list[str],
        typer.Option(
            metavar="TEXT",
            help="A preference; repeat to compare several, each on its own.",
            show_default=False,
        ),
    ],
    guidance_scale: GuidanceScale = None,
    preset: Preset = None,
    max_kl: MaxKL = None,
    iterations: Iterations = None,
    system: System = None,
    max_tokens: MaxTokens = 120,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    model: Model = EMBEDDED,
) -> None:
    """Answer a question without a preference and with it, side by side.

    base knows no preference; pref has it in the prompt; linear alignment, as published, and Amulet
    amplify what it changes, by the guidance scale and within the bound shown. All answers are
    decoded together.
    """
    strength = read_strength(guidance_scale, preset, max_kl, iterations)
    sampling = SamplingParams(max_new_tokens=max_tokens, temperature=temperature, seed=seed)
    preferences = [Preference(text=text) for text in prefer]
    messages = (*opening(system), ChatMessage(role="user", content=question))
    personalizer = Personalizer(open_engine(model), strength=strength, saved_presets=True)

    def planned(method: Method, preference: Preference | None = None) -> Answer:
        asked = PreferenceSelection(preference=preference, method=method)
        if method == "linear_alignment" and max_kl is None:
            asked = asked.model_copy(update={"max_kl": None})  # as published
        personalization = personalizer.personalize(resolve_user(asked, searchable=False))
        request = personalizer.build_request(
            PreparedCall(messages=messages, personalization=personalization, sampling=sampling)
        )
        label = strength_label(personalization.guidance_scale, personalization.max_kl)
        return Answer(method, label, request)

    sections = [
        Section(preference.text, [planned(method, preference) for method in _FOLLOWING])
        for preference in preferences
    ]
    # All preferences have the answer without one in common; a single one has it beside.
    if len(sections) == 1:
        sections[0].answers.insert(0, planned("base"))
    else:
        sections.insert(0, Section(None, [planned("base")]))
    _run(personalizer.engine, question, sections)


def _run(engine: Engine, question: str, sections: Sequence[Section]) -> None:
    answers = [answer for section in sections for answer in section.answers]
    with closing(follow(engine, answers)) as growing:
        if screen.is_terminal():
            _draw(growing, Board(question, sections))
        else:
            _write(growing, question, sections)
    failed = [answer.error for answer in answers if answer.error is not None]
    if failed:
        raise failed[0]


def _draw(growing: Generator[Answer], board: Board) -> None:
    with Live(board, console=screen.terminal(), refresh_per_second=_DRAWN_PER_SECOND):
        for _ in growing:
            pass


def _write(growing: Generator[Answer], question: str, sections: Sequence[Section]) -> None:
    typer.echo(f"Question: {screen.one_line(question)}\n")
    waiting = deque(
        (section.preference if answer is section.answers[0] else None, answer)
        for section in sections
        for answer in section.answers
    )
    for _ in growing:
        while waiting and waiting[0][1].done:
            preference, answer = waiting.popleft()
            if preference is not None:
                typer.echo(f"Preference: {screen.one_line(preference)}\n")
            typer.echo(headed(answer))
