"""A real browser, and servers on the loopback address that it reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.serving import ServerSettings, create_app
from tests.support.serving import serve_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
PATIENCE = 30_000.0  # milliseconds; other tests may have the processor

Open = Callable[..., "Page"]
Serve = Callable[..., str]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="package")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Serves the page and the API; gives the URL."""
    with ExitStack() as servers:

        def start(engine: Engine, **settings: Any) -> str:
            database = tmp_path_factory.mktemp("profiles") / "profiles.db"
            served = ServerSettings(**{"profiles": database, "model": "tiny", **settings})
            return servers.enter_context(serve_app(create_app(served, engine=engine)))

        yield start


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the page; at the end nothing may have gone wrong in it, or asked anybody else."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def open_it(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()

        def look(message: Any) -> None:
            # The browser itself reports answers with an error status; tests make some.
            if message.type in {"error", "warning"} and "Failed to load" not in message.text:
                troubles.append(message.text)

        def check_place(request: Any) -> None:
            if not request.url.startswith(("http://127.0.0.1:", "data:")):
                troubles.append(f"a request to {request.url}")

        page.on("console", look)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", check_place)
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []
