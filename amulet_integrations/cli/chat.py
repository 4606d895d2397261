"""`amulet chat`: questions in, answers out, by the user's preferences."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from typing import Annotated

import typer
from rich.text import Text

from amulet_integrations.cli import screen
from amulet_integrations.cli.columns import LABELS
from amulet_integrations.cli.conversation import Conversation
from amulet_integrations.cli.options import (
    METHODS,
    Database,
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
from amulet_integrations.cli.session import open_engine, open_store
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.backends.transformers.model_source import EMBEDDED
from amulet_integrations.errors import AmuletError
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.selection import PreferenceSelection
from amulet_integrations.profiles import PreferenceProfile

EPILOG = examples(
    "amulet chat --user ann",
    'amulet chat --prefer "Explain as to a child." --preset strong',
    'echo "Why is the sky blue?" | amulet chat --user ann',
)
_PREFERENCES = "Whose preferences, and how strongly"
_YOU = "you"
_COMMAND = re.compile(r"/[a-z]+(?=\s|$)")
_COMMANDS = "/prefer TEXT adds a preference, /reset forgets the turns, /quit leaves."


def chat(
    *,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Follow the profile of this user; it is read anew for every answer.",
            show_default=False,
            rich_help_panel=_PREFERENCES,
        ),
    ] = None,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Follow this preference; repeat for more. Not together with --user.",
            show_default=False,
            rich_help_panel=_PREFERENCES,
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            metavar="METHOD",
            help=METHODS,
            show_default="the profile's, else amulet",
            rich_help_panel=_PREFERENCES,
        ),
    ] = None,
    guidance_scale: GuidanceScale = None,
    preset: Preset = None,
    max_kl: MaxKL = None,
    iterations: Iterations = None,
    db: Database = None,
    system: System = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    model: Model = EMBEDDED,
) -> None:
    """Chat with a model that follows a user's preferences.

    On a terminal, Ctrl-C ends an answer, and Ctrl-D or /quit the chat; /reset forgets the
    conversation, /prefer TEXT follows one more preference. Where questions are piped in, each
    line is one, and nothing but the answers is printed.
    """
    if user is not None and prefer:
        raise typer.BadParameter(
            "--user and --prefer are given together. Keep the preference in the user's profile: "
            f"{_how_to_keep(user)}"
        )
    whose = PreferenceSelection(
        user_id=user,
        profile=PreferenceProfile(user_id=_YOU, preferences=tuple(prefer)) if prefer else None,
        method=method,
        **dict(read_strength(guidance_scale, preset, max_kl, iterations)),
    )
    sampling = SamplingParams(max_new_tokens=max_tokens, temperature=temperature, seed=seed)
    with nullcontext() if user is None else open_store(db) as store:
        personalizer = Personalizer(open_engine(model), profiles=store, saved_presets=True)
        conversation = Conversation(personalizer, whose, sampling, system)
        watched = sys.stdin.isatty() and screen.is_terminal()
        _greet(conversation, model, watched)
        _talk(conversation, watched)


def _greet(conversation: Conversation, model: str, watched: bool) -> None:
    applied = conversation.personalization()
    user = conversation.whose.user_id
    if user is not None and applied.version is None:
        screen.notice(
            f"{user} has no profile yet, so answers follow no preference. Make one: "
            f"{_how_to_keep(user)}"
        )
    if watched:
        method = LABELS[applied.method] if applied.preferences else "plain answers"
        facts = (
            model,
            user or _YOU,
            screen.count(len(applied.preferences), "preference"),
            f"{method}, guidance scale {strength_label(applied.guidance_scale, applied.max_kl)}",
        )
        console = screen.terminal()
        console.print(Text(screen.one_line(" · ".join(facts)), style="bold"))
        console.print(_COMMANDS, style="dim")


def _talk(conversation: Conversation, watched: bool) -> None:
    """Answers question after question.

    Raises:
        Exit: With 1, at the end, if an answer failed.
    """
    went_well = True
    for question in _questions(watched):
        command = _COMMAND.match(question)
        if command is None:
            went_well &= _answer(conversation, question, watched)
        elif command[0] == "/quit":
            break
        else:
            went_well &= _obey(conversation, command[0], question[command.end() :].strip())
    if not went_well and not watched:
        raise typer.Exit(1)


def _questions(watched: bool) -> Iterator[str]:
    """Lines that are not blank, stripped, until the input ends or Ctrl-C at the prompt."""
    lines = _prompted() if watched else sys.stdin
    yield from (stripped for line in lines if (stripped := line.strip()))


def _prompted() -> Iterator[str]:
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401, PLC0415 - input() edits lines with it
    while True:
        try:
            line = input("\n> ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        yield line


def _answer(conversation: Conversation, question: str, watched: bool) -> bool:
    """Prints an answer as it comes; says whether it went well."""
    last = failure = None
    try:
        with closing(conversation.ask(question)) as answer:
            for last in answer:
                typer.echo(screen.safe(last.text), nl=False)
    except KeyboardInterrupt:
        if not watched:
            raise
    except AmuletError as error:
        failure = error
    if last is not None:
        typer.echo()
        if watched and last.finish_reason == "length":
            screen.notice("(cut off: --max-tokens allows more)")
    if failure is not None:
        screen.error(failure)
    return failure is None


def _obey(conversation: Conversation, command: str, argument: str) -> bool:
    """Carries out a command given in the chat; says whether it went well."""
    if command == "/reset":
        conversation.reset()
        screen.notice("The conversation is forgotten.")
        return True
    if command == "/prefer" and argument:
        return _prefer(conversation, argument)
    screen.error(f"{command} is no command. {_COMMANDS}")
    return False


def _prefer(conversation: Conversation, text: str) -> bool:
    whose = conversation.whose
    if whose.user_id is not None:
        screen.error(
            f"This chat follows the profile of {whose.user_id}. Add to it: "
            f"{_how_to_keep(whose.user_id)} (it holds from the next answer on)"
        )
        return False
    before = whose.profile or PreferenceProfile(user_id=_YOU)
    try:
        profile = before.model_copy(update={"preferences": (*before.preferences, text)})
    except AmuletError as error:
        screen.error(error)
        return False
    conversation.whose = whose.model_copy(update={"profile": profile})
    screen.notice(f"{screen.count(len(profile.preferences), 'preference')} from now on.")
    return True


def _how_to_keep(user: str) -> str:
    return f'amulet profile add {user} --prefer "…"'
