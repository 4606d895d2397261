"""Where the GGUF file is that a `ModelSource` names; on the hub, it is downloaded."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import InvalidRequestError, ModelNotFoundError
from amulet_integrations.files import with_home

from .ollama_models import PREFIX, ollama_file
from .split_files import part_names

_NAMED = 5  # files of a message


def locate_gguf(source: ModelSource) -> Path:
    """The file that a source names; of a model in parts, the first.

    Raises:
        ModelNotFoundError: There is no such file, or the hub does not have it.
        UnsupportedModelError: Another part than the first is named, or Ollama's model has more than
            one file.
        InvalidRequestError: `gguf_file` is given beside a model that is a file already.
        MissingDependencyError: The embedded model is not installed.
    """
    if source.model == EMBEDDED:
        from amulet_integrations.engine.backends.transformers.loading.embedded import (  # noqa: PLC0415
            embedded_gguf_file,
        )

        return embedded_gguf_file()
    if source.model.startswith(PREFIX) and source.gguf_file is None:
        return ollama_file(source.model)
    path = with_home(source.model)
    if source.gguf_file is None:
        return _existing(source, path)
    if source.model.startswith(PREFIX) or os.path.isfile(path):  # noqa: PTH113 - any name
        raise InvalidRequestError(
            f"gguf_file={source.gguf_file!r:.200} beside model={source.model!r:.200}, which is a "
            "file already. Leave gguf_file out, or give its folder or Hugging Face id as model."
        )
    if os.path.isdir(path):  # noqa: PTH112
        return _existing(source, path / source.gguf_file)
    return _download(source, source.gguf_file)


def _existing(source: ModelSource, path: Path) -> Path:
    part_names(path.name)
    if os.path.isfile(path):  # noqa: PTH113
        return path.absolute()
    raise ModelNotFoundError(
        f"{_given(source)} cannot be loaded: there is no file {path.absolute()}.{_others(path)}"
    )


def _others(path: Path) -> str:
    """What GGUF files there are in the folder where one was looked for."""
    if not os.path.isdir(path.parent):  # noqa: PTH112
        return " Give the path of a GGUF file, or a Hugging Face id and gguf_file."
    names = sorted(it.name for it in path.parent.iterdir() if it.suffix.lower() == ".gguf")
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    there = f"{', '.join(names[:_NAMED])}{more}" if names else "no GGUF file"
    return f" In that folder there is {there}."


def _download(source: ModelSource, name: str) -> Path:
    """Gets the file, and the other parts if it is the first of several, out of the hub's cache."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - a second

    from amulet_integrations.engine.backends.transformers.loading.hub_reach import (  # noqa: PLC0415
        as_reachable,
    )
    from amulet_integrations.engine.backends.transformers.loading.loading_bars import (  # noqa: PLC0415
        only_watched_bars,
    )
    from amulet_integrations.engine.backends.transformers.loading.missing_files import (  # noqa: PLC0415
        check_name,
        loading_error,
    )

    check_name(source.model)
    names = part_names(name)
    reachable = as_reachable(_given(source), source, names[0])
    download = partial(
        hf_hub_download,
        source.model,
        revision=source.revision,
        local_files_only=reachable.local_files_only,
    )
    try:
        with only_watched_bars():
            files = [str(download(filename=part)) for part in names]
    except Exception as error:  # the hub's and the network's
        raise loading_error(_given(source), source, error) from error
    return Path(files[0])


def _given(source: ModelSource) -> str:
    file = "" if source.gguf_file is None else f", gguf_file={source.gguf_file!r:.200}"
    return f"model={source.model!r:.200}{file}"
