"""The commands that install more of this package, from where it was installed itself."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "amulet-integrations"
_ROOT = Path(__file__).parents[1]


def install_command(*extras: str) -> str:
    """The command that installs this package with these extras.

    It works in every folder. A checkout is installed again from its own folder, with the versions
    in its `constraints.txt`; what came from another URL or an index comes from there again.

    Args:
        extras: Names of extras in `pyproject.toml`.
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    url = _direct_url()
    checkout, editable = _checkout(url)
    if checkout is not None:
        constraints = checkout / "constraints.txt"
        pinned = f'-c "{constraints}" ' if constraints.is_file() else ""
        return f'pip install {pinned}{"-e " if editable else ""}"{checkout}{wanted}"'
    if "vcs_info" in url:
        vcs = url["vcs_info"]
        return f'pip install "{_NAME}{wanted} @ {vcs["vcs"]}+{url["url"]}@{vcs["commit_id"]}"'
    if "archive_info" in url:
        return f'pip install "{_NAME}{wanted} @ {url["url"]}"'
    return f'pip install "{_NAME}{wanted}"'


def upgrade_command() -> str:
    """The command that brings a newer version of this package."""
    checkout, _ = _checkout(url := _direct_url())
    if checkout is not None:
        return f'git -C "{checkout}" pull && {install_command()}'
    if "vcs_info" in url:
        return f'pip install --upgrade "{_NAME} @ {url["vcs_info"]["vcs"]}+{url["url"]}"'
    return f'pip install --upgrade "{_NAME}"'


def _checkout(url: dict[str, Any]) -> tuple[Path | None, bool]:
    """The folder with the sources, if there is one, and whether it is installed as editable."""
    if _is_checkout(_ROOT):  # imported from there, whatever else is installed
        return _ROOT, True
    if "dir_info" in url:
        folder = Path(url2pathname(urlsplit(url["url"]).path))
        if _is_checkout(folder):
            return folder, False
    return None, False


def _is_checkout(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    return project.is_file() and f'name = "{_NAME}"' in project.read_text(encoding="utf-8")


def _direct_url() -> dict[str, Any]:
    """What pip wrote down of the URL or folder that this package was installed from (PEP 610)."""
    try:
        written = metadata.distribution(_NAME).read_text("direct_url.json")
        url = json.loads(written or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return url if isinstance(url, dict) and isinstance(url.get("url"), str) else {}
