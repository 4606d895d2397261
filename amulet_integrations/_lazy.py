"""Exports that import their module on first use (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`.
        exports: Public name to the submodule (relative, such as ``".policies"``) that defines it.
            A name that ends its own submodule path (``"errors": ".errors"``) is the module itself.

    Returns:
        The two functions to bind as ``__getattr__`` and ``__dir__`` in the package.
    """

    def getattr_(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(exports[name], package)
        return module if exports[name] == f".{name}" else getattr(module, name)

    return getattr_, lambda: sorted(exports)
