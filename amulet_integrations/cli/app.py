"""The root command, and how every error ends: one line on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from amulet_integrations import __version__
from amulet_integrations.errors import AmuletError, GenerationError
from amulet_integrations.suggestions import is_about_strength

from . import chat, compare, explain, keys, memory, serve, terminal
from .evaluation import evaluate, sweep
from .interruption import INTERRUPTED, MESSAGE
from .options import (
    STRENGTH_OPTIONS,
    accept_earlier_names,
    examples,
    flowing,
    help_if_alone,
)
from .profile import profile

WRONG_INPUT = 2
FAILED = 1


class RootCommand(TyperGroup):
    """Ends with 0, with 2 after a user's mistake, with 130 after Ctrl-C, and otherwise with 1."""

    _debug = False

    def invoke(self, ctx: Any) -> Any:
        """Runs the command, remembering whether tracebacks are wanted."""
        self._debug = ctx.params["debug"]
        return super().invoke(ctx)

    def main(self, *args: Any, **options: Any) -> Any:
        """Runs the command line and exits."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except Exception as error:  # noqa: BLE001 - users get a line, never a traceback
            if self._debug:
                traceback.print_exc()
            code = _report(error)
        if code == INTERRUPTED:
            terminal.notice(MESSAGE)
        sys.exit(code)


def _report(error: Exception) -> int:
    """Prints an error; returns the exit code."""
    if isinstance(error, typer.Abort):  # the input ended where an answer was expected
        return FAILED
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        message = _message(error)
        if context is not None:
            stop = "" if message.endswith((".", "?")) else "."
            message += f"{stop} See: {context.command_path} --help"
        terminal.error(message)
        return error.exit_code
    if isinstance(error, AmuletError):
        terminal.error(error)
        return FAILED if isinstance(error, GenerationError) else WRONG_INPUT
    terminal.error(f"{type(error).__name__}: {error} (amulet --debug … shows where)")
    return FAILED


def _message(error: typer.TyperException) -> str:
    """The message; where an unknown option seems to mean the strength, with the right ones."""
    name, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    if context is None or not is_about_strength(_field(name)):
        return error.format_message()
    known = {parameter.name for parameter in context.command.params}
    near = {_field(option) for option in getattr(error, "possibilities", None) or ()}
    options = [option for field, option in STRENGTH_OPTIONS.items() if field in known]
    if not options or near & STRENGTH_OPTIONS.keys():
        return error.format_message()
    return f"{error.message}. Say how strongly by {', '.join(options)}"


def _field(option: str) -> str:
    return option.strip("-").replace("-", "_")


app = typer.Typer(
    cls=RootCommand,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=accept_earlier_names(),
    epilog=examples(
        'amulet compare "How do I make tea?" --preference "Be concise" --iterations 2',
        'amulet profile add ann --preference "Explain with examples from cooking."',
        "amulet chat --user ann",
    ),
)
for _command, _epilog, _names in (
    (chat.chat, chat.EPILOG, {}),
    (compare.compare, compare.EPILOG, {}),
    (explain.explain, explain.EPILOG, {}),
    (sweep.sweep, sweep.EPILOG, {}),
    (evaluate.evaluate, evaluate.EPILOG, evaluate.EARLIER_NAMES),
    (memory.memory, memory.EPILOG, {}),
    (serve.serve, serve.EPILOG, {}),
):
    app.command(
        help=flowing(_command.__doc__ or ""),
        epilog=_epilog,
        context_settings=accept_earlier_names(**_names),
    )(_command)
app.add_typer(profile, name="profile")
app.add_typer(keys.keys, name="keys")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"amulet-integrations {__version__}")
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    help=flowing(
        """Local language models that answer each user as that user likes.

        A preference is a sentence such as "Be concise". Amulet applies it while the answer is
        decoded, as strongly as you say, without training: [bold]compare[/bold] shows what that
        does, [bold]explain[/bold] shows it token by token, [bold]sweep[/bold] how strong it should
        be, [bold]profile[/bold] keeps what each user prefers, [bold]chat[/bold] answers by it,
        [bold]evaluate[/bold] measures it on your questions, [bold]serve[/bold] answers every client
        that speaks OpenAI's API.
        """
    ),
)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[  # noqa: ARG001 - read by RootCommand
        bool, typer.Option("--debug", envvar="AMULET_DEBUG", hidden=True)
    ] = False,
) -> None:
    help_if_alone(context)
