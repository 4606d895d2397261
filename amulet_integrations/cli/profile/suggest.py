"""`amulet profile suggest`: preferences that a conversation shows, each confirmed by its user."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amulet_integrations.cli import options, terminal
from amulet_integrations.cli.loading import open_engine, open_store
from amulet_integrations.cli.options import option
from amulet_integrations.errors import ProfileError

from . import group

if TYPE_CHECKING:
    from amulet_integrations.suggesting import SuggestedPreference, Suggestions


@group.profile.command(
    epilog=options.examples(
        "amulet profile suggest ann chat.json",
        "amulet profile suggest ann chat.json --json",
        "amulet profile suggest ann chat.json --accept 1a2b3c4d",
    )
)
def suggest(
    user: options.User,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='The conversation: a JSON list, or JSON lines, of {"role": "user", "content": "…"}'
            "; - for standard input.",
        ),
    ],
    *,
    accept: Annotated[
        list[str] | None,
        option("ID", "Store this suggestion without asking; repeat for more.", "--accept"),
    ] = None,
    model: options.Model = "embedded",
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
    profiles: options.Profiles = None,
    as_json: options.Json = False,
) -> None:
    """Suggest preferences that a user's own messages show, and store those that you confirm.

    A model reads what the user wrote, and quotes it for each suggestion. You are asked about each
    one; nothing is stored unasked. With --json, nobody is asked: --accept stores suggestions by
    the ids that it prints.
    """
    if str(file) == "-" and not (as_json or accept):
        raise typer.BadParameter(
            "FILE is standard input, which the questions need: give a file, --json or --accept."
        )
    conversation = _read(file)
    # Brings torch, which `amulet profile show` has no use for.
    from amulet_integrations.suggesting import accept_suggestions, suggest_preferences  # noqa: PLC0415

    with open_store(profiles) as store:
        engine = open_engine(model, backend, engine_options)
        with terminal.status("Reading the conversation …"):
            suggestions = suggest_preferences(
                engine, conversation, user_id=user, profile=store.get(user)
            )
        if as_json:
            group.print_json(_as_json(suggestions))
        else:
            _tell(suggestions)
        if accept:
            confirmed = _with_ids(suggestions, accept)
        elif as_json:
            confirmed = []
        else:
            confirmed = [it for it in suggestions if _confirm(it)]
        if not confirmed:
            if not as_json:
                typer.echo("Nothing was stored.")
            return
        stored = accept_suggestions(store, user, confirmed, by=group.operator())
    if not as_json:
        group.print_saved(stored)


def _read(file: Path) -> list[Any]:
    """The messages of a file, or of standard input.

    Raises:
        ProfileError: It cannot be read, or holds something else.
    """
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ProfileError(f"{str(file)!r} cannot be read: {error.strerror}.") from None
    expected = 'expected was a JSON list, or JSON lines, of {"role": "user", "content": "…"}'
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"The conversation is not UTF-8 text; {expected}.") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = [_line(number, line, expected) for number, line in _lines(text)]
    if isinstance(found, dict):
        found = found.get("messages", [found])
    if not isinstance(found, list):
        raise ProfileError(f"The conversation is a {type(found).__name__}; {expected}.")
    return found


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, it) for number, it in enumerate(text.split("\n"), start=1) if it.strip()]


def _line(number: int, line: str, expected: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ProfileError(f"line {number} of the conversation is no JSON; {expected}.") from None


def _tell(suggestions: Suggestions) -> None:
    if not suggestions.candidates:
        typer.echo("The model suggests nothing that rests on the user's own words.")
    if suggestions.rejected:
        count = terminal.plural(len(suggestions.rejected), "suggestion")
        reasons = "; ".join(dict.fromkeys(suggestions.rejected))
        terminal.notice(f"{count} of the model left out: {reasons}.")
    if suggestions.left_out:
        count = terminal.plural(suggestions.left_out, "message")
        terminal.notice(f"{count} of the user, the oldest, had no room in the model's context.")


def _confirm(suggestion: SuggestedPreference) -> bool:
    terminal.say(f"{suggestion.id}  {suggestion.text}  ({suggestion.kind})")
    terminal.say(f'          from the words "{suggestion.quote}"')
    return typer.confirm("Remember it?", default=False)


def _with_ids(suggestions: Suggestions, ids: Sequence[str]) -> list[SuggestedPreference]:
    """The suggestions of these ids.

    Raises:
        ProfileError: One of the ids is of none.
    """
    by_id = {it.id: it for it in suggestions}
    for one in ids:
        if one not in by_id:
            known = ", ".join(by_id) or "there are none"
            raise ProfileError(
                f"--accept {one!r:.40} is no suggestion of this conversation ({known}); nothing is "
                "stored. See them with --json."
            )
    return [by_id[one] for one in dict.fromkeys(ids)]


def _as_json(suggestions: Suggestions) -> dict[str, Any]:
    return {
        "suggestions": [it.as_json() for it in suggestions],
        "rejected": list(suggestions.rejected),
        "left_out": suggestions.left_out,
    }
