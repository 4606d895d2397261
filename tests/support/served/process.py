"""A server in a process of its own, with routes for tests: python -m tests.support.served.process.

The arguments are settings as JSON. With `model` it loads that model; without it has a tiny engine.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi import FastAPI

from amulet_integrations.serving import ServerSettings, run


def make_app_here(settings: ServerSettings) -> FastAPI:
    from tests.support import tiny
    from tests.support.served.routes import make_app

    return make_app(tiny.tiny_engine(), **settings.model_dump(exclude_unset=True))


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    if "model" not in given:
        run.create_app = make_app_here  # type: ignore[assignment]
    run.run_server(ServerSettings(**{"profiles": None, "port": 0, **given}))


if __name__ == "__main__":
    main()
