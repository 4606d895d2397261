"""Public names of a package that import their module on first use (PEP 562)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lazy_loader

from amulet_integrations.errors import MissingDependencyError


def attach_exports(
    package: str,
    file: str,
    *,
    former_names: Mapping[str, str] | None = None,
    extras: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes a package's `__getattr__`, `__dir__` and `__all__` from the stub beside it.

    Args:
        package: The package's `__name__`.
        file: The package's `__file__`.
        former_names: Names that changed, each with the name that took its place. They work for one
            release, with a DeprecationWarning.
        extras: Packages that may be missing, each with the extra that installs it.
    """
    load, list_names, names = lazy_loader.attach_stub(package, file)
    former, optional = former_names or {}, extras or {}

    def load_export(name: str) -> Any:
        if name in former:
            warnings.warn(
                f"{package}.{name} is now called {former[name]}. The old name goes with the next "
                "release.",
                DeprecationWarning,
                stacklevel=2,
            )
        try:
            return load(former.get(name, name))
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in optional:
                raise
            raise MissingDependencyError.for_extra(missing, optional[missing]) from error

    return load_export, list_names, names
