"""What is missing where a model was named: found on this disk, or from the hub's errors."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from socket import gaierror

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError
from amulet_integrations.files import with_home

from .weight_files import pickle_error, problem_of_weights

GIVE = "Give a Hugging Face id, a local folder with config, tokenizer and weights, or 'embedded'."
_GGUF = (
    "GGUF files, as llama.cpp and Ollama use them, are not read here. Give the checkpoint that it "
    "was made from: its Hugging Face id, or a folder with config, tokenizer and weights."
)
_FILES = {".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".json", ".zip"}
_TAGGED = re.compile(r"(?P<name>[\w./-]+):[\w.-]+")
_HUB_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+).*")
_NO_SAFETENSORS = "cannot be loaded with `safetensors`"  # what transformers says of the hub's files
_SAYS = "What transformers says:"
_NO_TOKENIZERS = {"special_tokens_map.json", "added_tokens.json", "tokenizer_config.json"}


def check_name(model: str) -> None:
    """Refuses a path at which there is no model, and names that the hub cannot have.

    Raises:
        ModelNotFoundError: The message says what is missing.
    """
    if (problem := _find_problem(model, GIVE)) is not None:
        raise _not_found(model, problem)


def _find_problem(model: str, give: str) -> str | None:
    """Why there cannot be a model of this name; None where there may be one."""
    path = with_home(model)
    if not model.strip():
        return f"the name is empty. {give}"
    # Unlike a path's methods, these take names that no file can have.
    if os.path.isdir(path):  # noqa: PTH112
        return _problem_of_folder(path, give)
    if os.path.exists(path):  # noqa: PTH110
        return _problem_of_file(path, give)
    return _problem_of_name(model, path, give) or _problem_of_spelling(model, give)


def check_files(model: str) -> None:
    """Refuses a folder that has a config, but no tokenizer or no weights.

    Raises:
        ModelNotFoundError: The message says which files are missing.
    """
    if (problem := _problem_of_files(with_home(model))) is not None:
        raise _not_found(model, problem)


def loading_error(
    what: str, source: ModelSource, error: Exception, give: str = GIVE
) -> ModelNotFoundError | UnsupportedModelError:
    """The error for a model that transformers could not load.

    Args:
        what: The model, for the message, such as "The reward model 'x'".
        source: The model.
        error: The error of transformers.
        give: What to give instead.
    """
    path = with_home(source.model)
    if _NO_SAFETENSORS in str(error):
        return pickle_error(what, "pytorch_model.bin")
    problem = (
        _find_problem(source.model, give)
        or _problem_of_files(path)
        or _problem_on_hub(source, error, give)
        or f"{give} {_SAYS} {' '.join(str(error).split())}"
    )
    return ModelNotFoundError(f"{what} cannot be loaded: {problem}")


def config_error(source: ModelSource, error: Exception) -> ModelNotFoundError:
    """The error for a model whose config transformers could not read, whatever else is missing."""
    path = with_home(source.model) / "config.json"
    said = " ".join(str(error).split())
    problem = (
        _problem_on_hub(source, error, GIVE)
        if not os.path.exists(path)  # noqa: PTH110 - names that no file can have
        else f"{path.absolute()} is damaged. Download or save it again."
        if not _is_object(path)
        else None
    )
    return _not_found(source.model, problem or f"its config is refused. {GIVE} {_SAYS} {said}")


def _is_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _problem_of_files(path: Path) -> str | None:
    if not os.path.isdir(path):  # noqa: PTH112
        return None
    names = {file.name for file in path.iterdir()}
    missing = [it for it in [problem_of_weights(path)] if it is not None]
    if not any(_is_of_tokenizer(name) for name in names):
        missing.append("a tokenizer (tokenizer.json, or tokenizer.model or vocab.json)")
    hint = f" {_adapter(path)}" if "adapter_config.json" in names else ""
    return f"the folder {path.absolute()} lacks {' and '.join(missing)}.{hint}" if missing else None


def _problem_on_hub(source: ModelSource, error: BaseException, give: str) -> str | None:
    """Why the hub's files cannot be had; None where it is something else."""
    causes = list(_causes(error))
    reasons = _hub_reasons(source, causes[-1], give)
    return next(
        (why for kind, why in reasons.items() if any(isinstance(it, kind) for it in causes)), None
    )


def _hub_reasons(
    source: ModelSource, first: BaseException, give: str
) -> dict[type[BaseException], str]:
    """What the errors of the hub mean; each stands before those that it derives from."""
    folder = f"there is no folder {Path(source.model).absolute()}"
    why = f"the hub cannot be reached ({' '.join(str(first).split())})"
    if source.local_files_only:
        why = "local_files_only=True keeps it from being downloaded"
    elif constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE keeps it from being downloaded"
    kept = f"models--{source.model.replace('/', '--')}"  # huggingface_hub refuses odd names
    partly = os.path.isdir(os.path.join(constants.HF_HUB_CACHE, kept))  # noqa: PTH112, PTH118
    cached = (
        f"{'not all of it is' if partly else 'it is not'} in the cache {constants.HF_HUB_CACHE}"
    )
    files, local = "", "a local folder"
    if source.gguf_file is not None:
        files, local = f" {shlex.quote(source.gguf_file)}", "a local GGUF file"
    if source.revision is not None:
        files += f" --revision {shlex.quote(source.revision)}"
    offline = (
        f"{folder}, {cached}, and {why}. Give the path of {local}. Or download it where there is a "
        f"network: hf download {shlex.quote(source.model)}{files}"
    )
    return {
        GatedRepoError: "its owner has to admit you. Accept the terms at "
        f"https://huggingface.co/{source.model}, and log in: hf auth login",
        RevisionNotFoundError: f"it has no revision {source.revision!r}. Give a branch, a tag or a "
        "commit of it.",
        RepositoryNotFoundError: f"{folder}, and Hugging Face has no model of this name that you "
        f"may see. For a private one, log in: hf auth login. {give}",
        LocalEntryNotFoundError: offline,
        OfflineModeIsEnabled: offline,
        ConnectionError: offline,
        gaierror: offline,
        TimeoutError: offline,
        EntryNotFoundError: "its repository has no such file. Name one that it has in gguf_file."
        if source.gguf_file is not None
        else "its repository has no config.json, as those of adapters and of GGUF files. Name a "
        "GGUF file in gguf_file, or give the id of the whole model, as transformers loads it.",
        HFValidationError: f"{folder}, and it cannot be an id of Hugging Face, such as "
        f"'owner/name'. {give}",
    }


def _not_found(model: str, problem: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"model={model!r} cannot be loaded: {problem}")


def _problem_of_folder(path: Path, give: str) -> str | None:
    names = {file.name for file in path.iterdir()}
    if "config.json" in names:
        return None
    where = path.absolute()
    if "adapter_config.json" in names:
        return f"{where} holds an adapter, not a whole model. {_adapter(path)}"
    if files := sorted(name for name in names if name.endswith(".gguf")):
        hint = f"Name one: gguf_file={files[0]!r}" if give == GIVE else _GGUF
        return f"{where} has no config.json, but GGUF files. {hint}"
    inner = next((it.parent for it in _configs_below(path)), None)
    if inner is not None:
        return f"{where} has no config.json, but {inner} has one: give that folder."
    found = f"It holds {', '.join(sorted(names)[:5])}." if names else "It is empty."
    return f"the folder {where} has no config.json. {found} {give}"


def _configs_below(path: Path) -> Iterator[Path]:
    # The last form is that of the hub's cache.
    for pattern in ("*/config.json", "snapshots/*/config.json"):
        yield from sorted(path.glob(pattern))


def _problem_of_file(path: Path, give: str) -> str:
    if path.suffix == ".gguf":
        return f"it is a file. {_GGUF}"
    if (path.parent / "config.json").is_file():
        return f"it is a file. Give its folder: {str(path.absolute().parent)!r}"
    return f"it is a file. {give}"


def _problem_of_name(model: str, path: Path, give: str) -> str | None:
    if page := _HUB_PAGE.fullmatch(model):
        return f"it is an address. Give the id: {page[1]!r}"
    if "://" in model:
        return f"it is an address. {give}"
    if path.suffix == ".gguf":
        return f"there is no file {path.absolute()}. {_GGUF}"
    if _looks_like_a_path(model):
        near = _near_folder(path)
        hint = f" Did you mean {str(near)!r}?" if near else ""
        return f"there is no folder {path.absolute()}.{hint} {give}"
    if tagged := _TAGGED.fullmatch(model):
        ollama = f" For one that Ollama has here, give 'ollama:{model}'." if give == GIVE else ""
        return (
            f"a name with a colon is Ollama's, or one of a provider.{ollama} Give the model's "
            f"Hugging Face id: https://huggingface.co/models?search={tagged['name']} finds it."
        )
    return None


def _problem_of_spelling(model: str, give: str) -> str | None:
    # The hub would be asked for it, and where there is no network, again and again.
    if get_close_matches(model.lower(), [EMBEDDED], cutoff=0.8):
        return f"there is no such model. Did you mean {EMBEDDED!r}? {give}"
    return None


def _looks_like_a_path(model: str) -> bool:
    is_absolute = model.startswith(("/", "\\", "~", ".")) or re.match(r"[A-Za-z]:[\\/]", model)
    several = model.count("/") > 1 or "\\" in model or model.endswith("/")
    return bool(is_absolute) or several or Path(model).suffix in _FILES


def _near_folder(path: Path) -> Path | None:
    if not os.path.isdir(path.parent):  # noqa: PTH112
        return None
    folders = [it.name for it in path.parent.iterdir() if it.is_dir()]
    return next((path.parent / near for near in get_close_matches(path.name, folders, n=1)), None)


def _adapter(path: Path) -> str:
    base = None
    with suppress(OSError, ValueError, KeyError, TypeError):
        base = json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"]
    of = f" {base!r}" if isinstance(base, str) else ""
    return (
        f"Merge the adapter into its base model{of} with peft (merge_and_unload, then "
        "save_pretrained, and the tokenizer's too), and give the folder of the result."
    )


def _is_of_tokenizer(name: str) -> bool:
    if name in _NO_TOKENIZERS:
        return False
    known = ("token", "vocab", "merges", "spiece", "sentencepiece", "tekken")
    return name.endswith((".model", ".tiktoken", ".spm")) or any(part in name for part in known)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
