"""`amulet memory`: how much memory a model and its users need, before it is loaded."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from amulet_integrations.engine.model_source import EMBEDDED

from . import options, terminal
from .loading import quiet_transformers
from .options import option

if TYPE_CHECKING:
    from amulet_integrations.engine import MemoryEstimate

EPILOG = options.examples(
    "amulet memory Qwen/Qwen2.5-7B-Instruct --users 8 --tokens 4096",
    "amulet memory ./my-model --dtype bfloat16 --json",
)
_DTYPES = ("float32", "bfloat16", "q4")
_COLUMNS = ("weights", "keys and values", "together")


def memory(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hugging Face id, folder, or embedded.")
    ] = EMBEDDED,
    *,
    users: Annotated[int, option("N", "How many are answered at once.", "--users", min=1)] = 1,
    tokens: Annotated[
        int, option("N", "Tokens of each prompt with its answer.", "--tokens", min=1)
    ] = 2048,
    contexts: Annotated[
        int,
        option("N", "Contexts of a request; 2 for one preference.", "--contexts", min=1),
    ] = 2,
    dtype: Annotated[
        list[str] | None,
        option(
            "DTYPE",
            "What the weights are kept in; repeat for more.",
            "--dtype",
            default=", ".join(_DTYPES),
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tell how much memory a model and its users need. Only its config is read.

    Weights, keys and values are counted. Leave room for torch and for the activations of a step.
    """
    with terminal.status(f"Reading the config of {model} …"):
        from amulet_integrations.engine import estimate_memory  # noqa: PLC0415 - imports torch

        quiet_transformers()
        found = {
            name: estimate_memory(model, dtype=name, users=users, tokens=tokens, contexts=contexts)
            for name in dtype or _DTYPES
        }
    if as_json:
        content = {
            name: {**asdict(each), "total_bytes": each.total_bytes} for name, each in found.items()
        }
        terminal.echo_json(json.dumps(content, indent=2))
        return
    some = next(iter(found.values()))
    terminal.say(
        f"{model}: {some.parameters / 1e9:.3g} billion parameters; "
        f"{terminal.plural(users, 'user')}, {terminal.plural(contexts, 'context')} of "
        f"{tokens:,} tokens each"
    )
    typer.echo(_table(found))
    largest = max(each.cache_tokens for each in found.values())
    terminal.notice(f"The engine's limit for it: max_cache_tokens={largest} or more.")


def _table(found: dict[str, MemoryEstimate]) -> str:
    width = max(map(len, found))
    lines = [" " * width + "".join(f"{column:>17}" for column in _COLUMNS)]
    for name, each in found.items():
        sizes = (each.weight_bytes, each.cache_bytes, each.total_bytes)
        lines.append(f"{name:{width}}" + "".join(f"{size / 1e9:>14.2f} GB" for size in sizes))
    return "\n".join(lines)
