"""The models that Ollama keeps on this machine: from their names to the GGUF files.

Ollama writes a manifest for each name, which lists blobs by their digests. One of them is the
model's GGUF file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError
from amulet_integrations.files import with_home

PREFIX = "ollama:"

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_NAME = re.compile(
    r"(?:(?:(?P<host>[\w.:-]+)/)?(?P<namespace>[\w.-]+)/)?(?P<model>[\w.-]+)(?::(?P<tag>[\w.-]+))?",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_KIND = "application/vnd.ollama.image."
_SERVICE = "/usr/share/ollama/.ollama/models"  # of the service that Ollama installs on Linux
_MOST_BYTES = 1 << 20  # of a manifest


def ollama_file(name: str) -> Path:
    """The GGUF file of a model of Ollama's.

    Args:
        name: "ollama:" and the name as Ollama takes it, such as "ollama:llama3.2:1b".

    Raises:
        ModelNotFoundError: There is no such model, or its file is missing.
        UnsupportedModelError: It has an adapter, or its manifest is damaged.
    """
    parts = _NAME.fullmatch(name.removeprefix(PREFIX))
    if parts is None or {".", ".."} & {*parts.groupdict().values()}:
        raise ModelNotFoundError(
            f"model={name!r:.200} is no name of Ollama's. Give one as `ollama list` prints it, "
            "such as 'ollama:llama3.2:1b'."
        )
    place = Path(
        parts["host"] or _HOST,
        parts["namespace"] or _NAMESPACE,
        parts["model"],
        parts["tag"] or _TAG,
    )
    folders = [folder for folder in ollama_folders() if folder.is_dir()]
    for folder in folders:
        if (manifest := folder / "manifests" / place).is_file():
            return _model_blob(name, manifest, folder)
    raise ModelNotFoundError(_not_found(name, folders))


def ollama_folders() -> list[Path]:
    """Where Ollama may keep its models: OLLAMA_MODELS, or else the user's or the service's."""
    if named := os.environ.get("OLLAMA_MODELS", "").strip():
        return [with_home(named)]
    return [with_home("~/.ollama/models"), *([Path(_SERVICE)] if os.name == "posix" else ())]


def ollama_names() -> Iterator[str]:
    """Yields the names of all models, as they are given to `ollama_file`."""
    for folder in ollama_folders():
        for manifest in sorted((folder / "manifests").glob("*/*/*/*")):
            host, namespace, model, tag = manifest.parts[-4:]
            place = [*((host,) if host != _HOST else ()), namespace, model]
            short = place[1:] if place[:-1] == [_NAMESPACE] else place
            yield f"{PREFIX}{'/'.join(short)}:{tag}"


def _model_blob(name: str, manifest: Path, folder: Path) -> Path:
    layers = _layers(name, manifest)
    models = [digest for kind, digest in layers if kind == f"{_KIND}model"]
    if any(kind == f"{_KIND}adapter" for kind, _ in layers):
        raise UnsupportedModelError(
            f"model={name!r:.200} is a base model with an adapter, which is not read. Merge them "
            "(llama-export-lora of llama.cpp), and give the GGUF file of the result."
        )
    if len(models) != 1:
        raise UnsupportedModelError(
            f"model={name!r:.200} has {len(models):,} files with weights in {manifest}, and one is "
            "read. A model that runs in Ollama's cloud has none."
        )
    blob = folder / "blobs" / f"sha256-{models[0]}"
    if not blob.is_file():
        raise ModelNotFoundError(
            f"model={name!r:.200} is in {manifest}, but its file {blob} is missing. Get it again: "
            f"ollama pull {name.removeprefix(PREFIX)}"
        )
    return blob


def _layers(name: str, manifest: Path) -> list[tuple[str, str]]:
    """The kinds and the digests of what a manifest lists."""
    try:
        with manifest.open("rb") as file:
            content: Any = json.loads(file.read(_MOST_BYTES))
        found = [(_text(layer, "mediaType"), _text(layer, "digest")) for layer in content["layers"]]
        return [(kind, _digest(digest)) for kind, digest in found if kind.startswith(_KIND)]
    except OSError as error:
        raise ModelNotFoundError(f"{manifest} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedModelError(
            f"model={name!r:.200}: {manifest} is damaged. Get the model again: "
            f"ollama pull {name.removeprefix(PREFIX)}"
        ) from error


def _text(layer: Mapping[str, Any], key: str) -> str:
    value = layer[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _digest(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if found is None:  # a path of somebody's making
        raise ValueError(digest)
    return found[1]


def _not_found(name: str, folders: list[Path]) -> str:
    if not folders:
        places = " and ".join(map(str, ollama_folders()))
        return (
            f"model={name!r:.200}: there are no models of Ollama's in {places}. Name the folder in "
            "OLLAMA_MODELS."
        )
    known = list(ollama_names())
    tagged = name if ":" in name.removeprefix(PREFIX) else f"{name}:{_TAG}"
    near = get_close_matches(tagged, known, n=1)
    listed = f" It has {', '.join(known[:5])}." if known else " It has none."
    hint = f" Did you mean {near[0]!r}?" if near else listed
    return (
        f"model={name!r:.200} is not among the models of Ollama's in "
        f"{' and '.join(map(str, folders))}.{hint} Get it with: "
        f"ollama pull {name.removeprefix(PREFIX):.100}"
    )
