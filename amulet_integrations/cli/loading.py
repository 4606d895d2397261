"""The engine and the profile store that the options name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amulet_integrations.errors import InvalidParamsError

from . import terminal
from .option_values import read_named_values

if TYPE_CHECKING:
    from amulet_integrations.engine import Engine
    from amulet_integrations.engine.model_source import BackendName
    from amulet_integrations.profiles import SqlProfileStore


def open_engine(
    model: str,
    backend: BackendName = "auto",
    engine_options: Sequence[str] | None = None,
    *,
    dtype: str = "auto",
) -> Engine:
    """Loads a model.

    Args:
        model: As in `ModelSource`.
        backend: What computes; see `ModelSource`.
        engine_options: Further arguments of `LocalEngine.from_pretrained`, such as "n_ctx=8192".
        dtype: What it computes in; "auto" is the checkpoint's own.

    Raises:
        ModelError: It cannot be loaded.
        InvalidParamsError: An option of the engine is out of its range, is given twice, or is an
            option of the command.
        UnknownArgumentError: The engine has no such option.
    """
    given = _read_engine_options(engine_options or (), dtype)
    with terminal.status(f"Loading {model} …"):
        # Importing torch takes a good part of the time.
        from amulet_integrations.engine import (  # noqa: PLC0415
            LocalEngine,
            ModelSource,
            shared_engine,
        )

        quiet_transformers()
        if given:
            return LocalEngine.from_pretrained(
                model, **{"dtype": dtype, "backend": backend, **given}
            )
        return shared_engine(ModelSource(model, dtype=dtype, backend=backend))


def open_store(profiles: str | None) -> SqlProfileStore:
    """Opens the database of profiles; the default one where none is named.

    Raises:
        ProfileStoreError: It cannot be opened.
    """
    from amulet_integrations.profiles import SqlProfileStore  # noqa: PLC0415 - brings SQLAlchemy

    with warnings.catch_warnings(record=True) as former_names:
        warnings.simplefilter("always", FutureWarning)
        store = SqlProfileStore((profiles or "").strip() or None)
    for warning in former_names:
        terminal.notice(warning.message)
    return store


def _read_engine_options(texts: Sequence[str], dtype: str) -> dict[str, Any]:
    given = read_named_values("--engine-option", texts)
    own = {"model", "backend"} if dtype == "auto" else {"model", "backend", "dtype"}
    for name in sorted(given.keys() & own):
        raise InvalidParamsError(
            f"--engine-option has {name!r}, which is an option by itself: give --{name}."
        )
    return given


def quiet_transformers() -> None:
    """Keeps the bars and warnings of transformers off the terminal."""
    from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
