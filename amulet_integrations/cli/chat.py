"""`amulet chat`: questions in, answers out, by the user's preferences."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.errors import AmuletError, PreferenceSelectionError
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import PreferenceProfile

from . import options, terminal
from .columns import METHOD_NAMES
from .conversation import Conversation
from .loading import open_engine, open_store
from .options import method_option, option

EPILOG = options.examples(
    "amulet chat --user ann",
    'amulet chat --preference "Explain as to a child." --preset strong',
    'echo "Why is the sky blue?" | amulet chat --user ann',
)
_PANEL = "Whose preferences, and how strongly"
_whose = partial(option, panel=_PANEL)
_YOU = "you"
_COMMAND = re.compile(r"/[a-z]+(?=\s|$)")
_COMMANDS = "/prefer TEXT adds a preference, /reset forgets the turns, /quit leaves."


def chat(
    *,
    user: Annotated[
        str | None,
        _whose("USER", "Follow the profile of this user; it is read anew for every answer."),
    ] = None,
    preference: Annotated[
        list[str] | None,
        _whose("TEXT", "Follow this preference; repeat for more. Not together with --user."),
    ] = None,
    method: Annotated[
        Method | None, method_option(default="the profile's, else amulet", panel=_PANEL)
    ] = None,
    guidance_scale: options.GuidanceScale = None,
    preset: options.Preset = None,
    max_kl: options.MaxKL = None,
    iterations: options.Iterations = None,
    db: options.Database = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = 512,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = None,
    model: options.Model = EMBEDDED,
) -> None:
    """Chat with a model that follows a user's preferences.

    On a terminal, Ctrl-C ends an answer, and Ctrl-D or /quit the chat; /reset forgets the
    conversation, /prefer TEXT follows one more preference. Where questions are piped in, each
    line is one, and nothing but the answers is printed.
    """
    if user is not None and preference:
        raise typer.BadParameter(
            "--user and --preference are given together. Keep the preference in the user's profile: "
            f"{_add_command(user)}"
        )
    selection = PreferenceSelection(
        user_id=user,
        profile=PreferenceProfile(user_id=_YOU, preferences=tuple(preference))
        if preference
        else None,
        method=method,
        **dict(options.read_strength(guidance_scale, preset, max_kl, iterations)),
    )
    sampling = SamplingParams(max_new_tokens=max_tokens, temperature=temperature, seed=seed)
    with nullcontext() if user is None else open_store(db) as store:
        personalizer = Personalizer(open_engine(model), profiles=store, saved_presets=True)
        conversation = Conversation(personalizer, selection, sampling, system)
        interactive = sys.stdin.isatty() and terminal.is_interactive()
        _greet(conversation, model, interactive)
        _run(conversation, interactive)


def _greet(conversation: Conversation, model: str, interactive: bool) -> None:
    applied = conversation.personalization()
    user = conversation.selection.user_id
    if user is not None and applied.version is None:
        terminal.notice(
            f"{user} has no profile yet, so answers follow no preference. Make one: "
            f"{_add_command(user)}"
        )
    if interactive:
        method = METHOD_NAMES[applied.method] if applied.preferences else "plain answers"
        strength = options.strength_label(applied.guidance_scale, applied.max_kl)
        facts = (
            model,
            user or _YOU,
            terminal.plural(len(applied.preferences), "preference"),
            f"{method}, guidance scale {strength}",
        )
        console = terminal.console()
        console.print(Text(terminal.one_line(" · ".join(facts)), style="bold"))
        console.print(_COMMANDS, style="dim")


def _run(conversation: Conversation, interactive: bool) -> None:
    """Answers question after question, and follows the commands between them.

    Raises:
        Exit: With 1, at the end, if an answer or a command failed and nobody watched.
    """
    failed = False
    lines = _prompt() if interactive else sys.stdin
    for line in filter(None, map(str.strip, lines)):
        command = _COMMAND.match(line)
        try:
            if command is None:
                _print_answer(conversation, line, interactive)
            elif command[0] == "/quit":
                break
            else:
                _run_command(conversation, command[0], line[command.end() :].strip())
        except AmuletError as error:
            terminal.error(error)
            failed = True
    if failed and not interactive:
        raise typer.Exit(1)


def _prompt() -> Iterator[str]:
    """Lines as they are typed, until the input ends or Ctrl-C at the prompt."""
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401, PLC0415 - input() edits lines with it
    while True:
        try:
            line = input("\n> ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        yield line


def _print_answer(conversation: Conversation, question: str, interactive: bool) -> None:
    """Prints an answer as it comes."""
    last = None
    try:
        with closing(conversation.ask(question)) as answer:
            for last in answer:
                typer.echo(terminal.safe(last.text), nl=False)
    except KeyboardInterrupt:
        if not interactive:
            raise
    finally:
        if last is not None:
            typer.echo()
    if interactive and last is not None and last.finish_reason == "length":
        terminal.notice("(cut off: --max-tokens allows more)")


def _run_command(conversation: Conversation, command: str, argument: str) -> None:
    """Runs a command that was given in the chat.

    Raises:
        AmuletError: There is no such command, or the preference cannot be added.
    """
    if command == "/reset":
        conversation.reset()
        terminal.notice("The conversation is forgotten.")
    elif command == "/prefer" and argument:
        _add_preference(conversation, argument)
    else:
        raise AmuletError(f"{command} is no command. {_COMMANDS}")


def _add_preference(conversation: Conversation, text: str) -> None:
    selection = conversation.selection
    if selection.user_id is not None:
        raise PreferenceSelectionError(
            f"This chat follows the profile of {selection.user_id}. Add to it: "
            f"{_add_command(selection.user_id)} (it holds from the next answer on)"
        )
    before = selection.profile or PreferenceProfile(user_id=_YOU)
    profile = before.model_copy(update={"preferences": (*before.preferences, text)})
    conversation.selection = selection.model_copy(update={"profile": profile})
    terminal.notice(f"{terminal.plural(len(profile.preferences), 'preference')} from now on.")


def _add_command(user: str) -> str:
    return f'amulet profile add {user} --preference "…"'
