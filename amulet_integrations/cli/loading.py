"""The engine and the profile store that the options name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from . import terminal

if TYPE_CHECKING:
    from amulet_integrations.engine import Engine
    from amulet_integrations.engine.model_source import BackendName
    from amulet_integrations.profiles import SqlProfileStore


def open_engine(model: str, backend: BackendName = "auto", *, dtype: str = "auto") -> Engine:
    """Loads a model.

    Args:
        model: As in `ModelSource`.
        backend: What computes; see `ModelSource`.
        dtype: What it computes in; "auto" is the checkpoint's own.

    Raises:
        ModelError: It cannot be loaded.
    """
    with _status_line(f"Loading {model} …"):
        # Importing torch takes a good part of the time.
        from amulet_integrations.engine import ModelSource, shared_engine  # noqa: PLC0415

        quiet_transformers()
        return shared_engine(ModelSource(model, dtype=dtype, backend=backend))


def open_store(db: str | None) -> SqlProfileStore:
    """Opens the database of profiles; the default one where none is named.

    Raises:
        ProfileStoreError: It cannot be opened.
    """
    from amulet_integrations.profiles import SqlProfileStore  # noqa: PLC0415 - brings SQLAlchemy

    with warnings.catch_warnings(record=True) as former_names:
        warnings.simplefilter("always", FutureWarning)
        store = SqlProfileStore((db or "").strip() or None)
    for warning in former_names:
        terminal.notice(warning.message)
    return store


@contextmanager
def _status_line(message: str) -> Iterator[None]:
    """Shows a message on a terminal for as long as it is entered."""
    if not terminal.is_interactive():
        yield
        return
    # Not rich's Status: the first use of the embedded model draws a bar of its own on this line.
    console = terminal.console()
    console.print(Text(terminal.one_line(message), style="dim"), end="\r")
    try:
        yield
    finally:
        console.control(Control((ControlType.ERASE_IN_LINE, 2)))


def quiet_transformers() -> None:
    """Keeps the bars and warnings of transformers off the terminal."""
    from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
