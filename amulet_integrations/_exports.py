"""Public names of a package that import their module on first use (PEP 562)."""

from __future__ import annotations

import importlib
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
            _warn_of(f"{package}.{name}", former[name])
        try:
            return load(former.get(name, name))
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in optional:
                raise
            raise MissingDependencyError.for_extra(missing, optional[missing]) from error

    return load_export, list_names, names


def forward_module(
    former: str, module: str, renamed: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a module that has moved; it works for one release.

    Args:
        former: The former module's `__name__`.
        module: The module that took its place.
        renamed: Names that changed with it, each with the new one.
    """

    def load(name: str) -> Any:
        new = (renamed or {}).get(name, name)
        try:
            value = getattr(importlib.import_module(module), new)
        except AttributeError:
            raise AttributeError(f"module {former!r} has no attribute {name!r}") from None
        _warn_of(f"{former}.{name}", f"{module}.{new}")
        return value

    return load


def _warn_of(former: str, name: str) -> None:
    """Warns whoever reads a former name from a package."""
    warnings.warn(
        f"{former} is now called {name}. The old name goes with the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
