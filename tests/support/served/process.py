"""A server in a process of its own, with routes for tests: python -m tests.support.served.process.

The argument holds settings as JSON. There is no model, so that it starts fast.
"""

from __future__ import annotations

import json
import sys
from unittest.mock import AsyncMock, MagicMock

from fastapi import FastAPI

from amulet_integrations.client import AmuletClient
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.serving import ServerSettings, run
from tests.support.served.routes import make_app


def make_app_without_model(settings: ServerSettings) -> FastAPI:
    engine = MagicMock(spec=Engine, model_name="none", context_window=640)
    return make_app(engine, **settings.model_dump(exclude_unset=True))


def main() -> None:
    settings = ServerSettings(profiles=None, port=0, **json.loads(sys.argv[1]))
    run.create_app = make_app_without_model
    AmuletClient.awarm_up = AsyncMock()
    run.run_server(settings)


if __name__ == "__main__":
    main()
