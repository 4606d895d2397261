"""Templates of HTML pages, which take every text for text."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def open_templates(folder: Path) -> Environment:
    """Opens the templates of a folder; what they are given shows as text in a page."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
