"""The templates of this folder, which take every text for text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .tints import glass, tint_class
from .wording import nats, percentage, strength

FOLDER = Path(__file__).parent


@cache
def environment() -> Environment:
    """What renders the templates."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        glass=glass, nats=nats, percentage=percentage, strength=strength, tint_class=tint_class
    )
    return made
