"""Where Ray is missing, the error says how to install it."""

from __future__ import annotations

import sys

import pytest

import amulet_integrations.serving.ray as served_by_ray
from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.installation import install_command


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{served_by_ray.__name__}.serve_application"
    for module in [it for it in sys.modules if it.partition(".")[0] == "ray" or it == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError) as caught:
        _ = served_by_ray.build_app
    assert install_command("ray") in str(caught.value)
