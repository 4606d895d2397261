"""Whether the hub can be asked for what is not in its cache, found out within seconds."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.files import with_home

from .missing_files import GIVE, loading_error

logger = logging.getLogger(__name__)

_TRIES = 2
_PAUSE = 1.0  # seconds between them
_PATIENCE = 3.0  # seconds; a slow network is left to huggingface_hub


def as_reachable(
    what: str, source: ModelSource, file: str = "config.json", give: str = GIVE
) -> ModelSource:
    """A source as it can be had now: out of the cache alone where the hub cannot be reached.

    huggingface_hub would ask six times for each file, which takes half a minute, also for files
    that are in its cache. Other errors of the hub are left to whoever downloads.

    Args:
        what: The model, for the message.
        source: The model.
        file: A file of it that is needed.
        give: What to give instead.

    Returns:
        The source, with `local_files_only` where the hub cannot be reached.

    Raises:
        ModelNotFoundError: The hub cannot be reached, and the file is not in its cache.
    """
    if source.local_files_only or constants.HF_HUB_OFFLINE or not _is_of_hub(source.model):
        return source
    try:
        cached = try_to_load_from_cache(source.model, file, revision=source.revision) is not None
    except HFValidationError:  # it is no id, which is reported where it is loaded
        return source
    for left in reversed(range(1 if cached else _TRIES)):
        error = _ask(source, file)
        if error is None:
            return source
        if left:
            time.sleep(_PAUSE)
    if not cached:
        raise loading_error(what, source, ConnectionError(str(error)), give) from error
    logger.warning("%s is read from the cache, for the hub cannot be reached: %s.", what, error)
    return replace(source, local_files_only=True)


def _is_of_hub(model: str) -> bool:
    # Unlike a path's methods, this takes names that no file can have.
    return model != EMBEDDED and not os.path.exists(with_home(model))  # noqa: PTH110


def _ask(source: ModelSource, file: str) -> Exception | None:
    """Asks the hub for a file; returns the error where no connection comes about."""
    try:
        url = hf_hub_url(source.model, file, revision=source.revision)
        get_hf_file_metadata(url, timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001 - the hub's and the network's
        return error if _is_no_connection(error) else None
    return None


def _is_no_connection(error: BaseException) -> bool:
    # By its name, for huggingface_hub 1 has it from httpx, and 2 from httpx2.
    return any(kind.__name__ == "ConnectError" for kind in type(error).__mro__)
