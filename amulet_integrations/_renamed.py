"""Names that changed: the former ones work for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any


def with_former_names(
    package: str, load: Callable[[str], Any], names: Mapping[str, str]
) -> Callable[[str], Any]:
    """Makes a package's `__getattr__` accept former names, with a DeprecationWarning.

    Args:
        package: The package's `__name__`.
        load: Its `__getattr__` for the names of today.
        names: Former names, each with the name that took its place.
    """

    def load_any(name: str) -> Any:
        if name not in names:
            return load(name)
        warnings.warn(
            f"{package}.{name} is now called {names[name]}. The old name goes with the next "
            "release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return load(names[name])

    return load_any
