"""`amulet chat`: questions in, answers out, by the user's preferences."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.errors import AmuletError
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import PreferenceProfile, ProfileStore
from amulet_integrations.profiles.stores.description import profile_command

from . import options, terminal
from .chat_commands import YOU, QuitChat, run_command, split_command
from .columns import METHOD_NAMES
from .conversation import Conversation
from .loading import open_engine, open_store
from .options import method_option, option
from .repetition import repeats_itself

EPILOG = options.examples(
    "amulet chat --user ann",
    'amulet chat --preference "Explain as to a child." --preset strong',
    'echo "Why is the sky blue?" | amulet chat --user ann',
)
_PANEL = "Whose preferences, and how strongly"
_selecting = partial(option, panel=_PANEL)
_REPETITION_PENALTY = 1.1  # without it, small models repeat themselves until the tokens run out


def chat(
    *,
    user: Annotated[
        str | None,
        _selecting(
            "USER", "Follow the profile of this user; it is read anew for every answer.", "--user"
        ),
    ] = None,
    preference: Annotated[
        list[str] | None,
        _selecting("TEXT", "Follow this preference; repeat for more. Not together with --user."),
    ] = None,
    method: Annotated[
        Method | None, method_option(default="the profile's, else amulet", panel=_PANEL)
    ] = None,
    guidance_scale: options.GuidanceScale = None,
    preset: options.Preset = None,
    max_kl: options.MaxKL = None,
    gate: options.Gate = None,
    iterations: options.Iterations = None,
    profiles: options.Profiles = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = 512,
    temperature: options.Temperature = 0.0,
    repetition_penalty: options.RepetitionPenalty = _REPETITION_PENALTY,
    seed: options.Seed = None,
    model: options.Model = EMBEDDED,
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
) -> None:
    """Chat with a model that follows a user's preferences.

    Lines that begin with a slash are commands: /help lists them, /preference TEXT follows one more
    preference, /strength changes how strongly, /reset forgets the conversation. On a terminal,
    Ctrl-C ends an answer, and Ctrl-D or /quit the chat. Where questions are piped in, each line is
    one, and nothing but the answers is printed.
    """
    if user is not None and preference:
        raise typer.BadParameter(
            "--user and --preference are given together. Keep the preference in the profile: "
            f"{profile_command(user, action='add')}"
        )
    selection = PreferenceSelection(
        user_id=user,
        profile=_own_profile(preference or ()),
        method=method,
        **dict(options.read_strength(guidance_scale, preset, max_kl, iterations, gate)),
    )
    sampling = SamplingParams(
        max_new_tokens=max_tokens,
        temperature=temperature,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    with ExitStack() as stack:

        def find_store() -> ProfileStore:
            return stack.enter_context(open_store(profiles))

        # Without a user, the store is opened when the chat names one.
        store = find_store if user is None else find_store()
        personalizer = Personalizer(
            open_engine(model, backend, engine_options), profiles=store, saved_presets=True
        )
        conversation = Conversation(personalizer, selection, sampling, system)
        interactive = sys.stdin.isatty() and terminal.is_interactive()
        if interactive:
            terminal.console().print(Text(f"{model}; /help lists the commands.", style="bold"))
        _show_state(conversation, interactive)
        _run(conversation, interactive)


def _own_profile(texts: Sequence[str]) -> PreferenceProfile | None:
    return PreferenceProfile(user_id=YOU, preferences=tuple(texts)) if texts else None


def _show_state(conversation: Conversation, interactive: bool) -> None:
    """Shows which user is followed, and how strongly.

    Where nobody watches, it shows only that a user has no profile.
    """
    applied = conversation.personalization()
    user = conversation.selection.user_id
    if user is not None and applied.version is None:
        terminal.notice(
            f"{user} has no profile yet in {conversation.place}, so answers follow no preference. "
            f"Make one: {conversation.add_command(user)}"
        )
    if interactive:
        method = METHOD_NAMES[applied.method] if applied.preferences else "plain answers"
        strength = options.strength_label(applied.guidance_scale, applied.max_kl)
        facts = (
            user or YOU,
            terminal.plural(len(applied.preferences), "preference"),
            f"{method}, guidance scale {strength}",
        )
        terminal.console().print(Text(terminal.one_line(" · ".join(facts)), style="dim"))


def _run(conversation: Conversation, interactive: bool) -> None:
    """Answers question after question, and follows the commands between them.

    Raises:
        Exit: With 1, at the end, if an answer or a command failed and nobody watched.
    """
    failed = False
    lines = _prompt() if interactive else sys.stdin
    for line in filter(None, map(str.strip, lines)):
        try:
            _follow(conversation, line, interactive)
        except QuitChat:
            break
        except AmuletError as error:
            terminal.error(error)
            failed = True
        except KeyboardInterrupt:
            if not interactive:
                raise
    if failed and not interactive:
        raise typer.Exit(1)


def _follow(conversation: Conversation, line: str, interactive: bool) -> None:
    """Answers a question or runs a command.

    Raises:
        AmuletError: It failed; the conversation is as before.
        QuitChat: The chat is over.
    """
    if (command := split_command(line)) is None:
        _print_answer(conversation, line, interactive)
        return
    before = conversation.selection
    try:
        if run_command(conversation, *command):
            _show_state(conversation, interactive)
    except AmuletError:
        conversation.selection = before
        raise


def _prompt() -> Iterator[str]:
    """Lines as they are typed, until the input ends. Ctrl-C forgets a line."""
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401, PLC0415 - input() edits lines with it
    while True:
        try:
            line = input("\n> ")
        except KeyboardInterrupt:
            typer.echo()
            terminal.notice("(Ctrl-D or /quit leaves the chat)")
            continue
        except EOFError:
            typer.echo()
            return
        yield line


def _print_answer(conversation: Conversation, question: str, interactive: bool) -> None:
    """Prints an answer as it comes, until it ends or goes round in circles."""
    last, text = None, ""
    try:
        with closing(conversation.ask(question)) as answer:
            for last in answer:
                typer.echo(terminal.safe(last.text), nl=False)
                text += last.text
                if last.finish_reason is None and repeats_itself(text):
                    break
    finally:
        if last is not None:
            typer.echo()
    if last is not None and last.finish_reason is None:
        terminal.notice(
            "(ended, because it repeats itself: see --repetition-penalty, --temperature)"
        )
    if interactive and conversation.left_out:
        count = terminal.plural(conversation.left_out, "preference")
        terminal.notice(f"({count} left out by the gate: the question has nothing to do with it)")
    if interactive and last is not None and last.finish_reason == "length":
        terminal.notice("(cut off: --max-tokens allows more)")
