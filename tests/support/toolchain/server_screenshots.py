"""Makes the pictures of the server's page in docs/_static, with the embedded model.

Run it by ``python -m tests.support.toolchain.server_screenshots``; it needs Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from amulet_integrations.profiles import Preference, PreferenceProfile, open_profile_store
from amulet_integrations.serving import ServerSettings, create_app
from tests.support.serving import serve_app

PICTURES = Path(__file__).parents[3] / "docs" / "_static"
QUESTION = "How do I make a good cup of tea?"
SEED = "0.15"  # of the page's own dice, so that the pictures stay the same
MINUTE = 60_000.0
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 1000}

PIRATE = "Answer like a friendly pirate."
SHORT = "Answer in short, simple sentences."
VERSIONS: tuple[dict[str, Any], ...] = (
    {"preferences": [SHORT]},
    {"preferences": [Preference(text=SHORT, weight=0.6), PIRATE]},
    {
        "preferences": [
            PIRATE,
            Preference(text="Use long lists.", weight=-0.5),
            Preference(text="Begin with a greeting.", name="greeting", when={"task": "email"}),
        ],
        "preset": "strong",
    },
)


def main() -> None:
    """Makes all pictures."""
    expect.set_options(timeout=MINUTE)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        database = Path(folder) / "profiles.db"
        store = open_profile_store(database)
        for fields in VERSIONS:
            store.save(PreferenceProfile(user_id="ann", **fields))
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with serve_app(create_app(ServerSettings(profiles=database))) as url:
            for scheme in ("light", "dark"):
                with opened(browser, url, color_scheme=scheme, viewport=WIDE) as page:
                    ask(page, 70)
                    page.locator(".t.u8, .t.u7, .t.u6").first.hover()
                    save(page, f"server-{scheme}")
            with opened(browser, url, viewport=WIDE) as page:
                page.get_by_label("A profile", exact=True).check()
                page.get_by_label("User", exact=True).fill("ann")
                page.get_by_role("button", name="See and change the profile").click()
                expect(page.locator("#history li")).to_have_count(len(VERSIONS))
                page.mouse.move(1, 1)
                save(page, "server-profile", full_page=True)
            with opened(browser, url, viewport=NARROW, device_scale_factor=1.5) as page:
                ask(page, 30)
                save(page, "server-narrow")


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """The page in a browser of its own."""
    context = browser.new_context(**options)
    context.set_default_timeout(MINUTE)
    page = context.new_page()
    page.add_init_script(f"Math.random = () => {SEED}")
    page.goto(url)
    expect(page.locator("#model")).not_to_be_empty()
    yield page
    context.close()


def ask(page: Page, tokens: int) -> None:
    """Asks the question, and waits for both answers."""
    page.locator("#length").evaluate("(field, tokens) => { field.value = tokens; }", tokens)
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#status")).to_have_text("Both answers are finished.", timeout=MINUTE)
    page.mouse.move(1, 1)


def save(page: Page, name: str, **options: Any) -> None:
    """Saves a picture without its transparency, which it does not use."""
    page.wait_for_timeout(500.0)
    shown = Image.open(BytesIO(page.screenshot(**options))).convert("RGB")
    shown.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
