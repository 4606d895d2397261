"""Exports that import their module on first use (PEP 562)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str,
    modules: Mapping[str, Sequence[str]],
    *,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`.
        modules: Each submodule (relative, such as ``".policies"``) with the public names that it
            defines. A submodule without names is exported itself.
        renamed: Former names, each with the name that replaced it. They work for one release,
            with a DeprecationWarning.

    Returns:
        The two functions to bind as ``__getattr__`` and ``__dir__`` in the package.
    """
    modules_by_name = {name: module for module, names in modules.items() for name in names}
    submodules = {module.removeprefix(".") for module, names in modules.items() if not names}

    def getattr_(name: str) -> Any:
        if renamed and name in renamed:
            new = renamed[name]
            warnings.warn(
                f"{package}.{name} is now called {new}. The old name goes with the next release.",
                DeprecationWarning,
                stacklevel=2,
            )
            name = new
        if name in submodules:
            return importlib.import_module(f".{name}", package)
        if name not in modules_by_name:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules_by_name[name], package), name)

    return getattr_, lambda: sorted(submodules | modules_by_name.keys())
