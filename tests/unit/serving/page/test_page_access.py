"""People with a keyboard, a screen reader, a narrow screen or a dark one can use the page."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.serving.page.written_engine import WrittenEngine

SHIFTS = tuple(at / 2 for at in range(-9, 10))
TEXT = "The sea is blue. You are a helpful assistant. Be brief. user system"

# Each text that can be seen, with the contrast of its colours.
CONTRASTS = """() => {
  const read = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((it) => it / 255)
      .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const colour = read(getComputedStyle(it).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const ours = [light(read(getComputedStyle(element).color)), light(behind(element))].sort();
    const [low, high] = ours[0] < ours[1] ? ours : ours.reverse();
    found.push([(high + 0.05) / (low + 0.05), walker.currentNode.textContent.slice(0, 40)]);
  }
  return found;
}"""
# Elements that people use and that have no name.
NAMELESS = """() => [...document.querySelectorAll(
    "input, select, textarea, button, a, [tabindex='0']")]
  .filter((it) => it.checkVisibility() && !it.matches(".t"))
  .filter((it) => !(it.labels?.length && it.labels[0].textContent.trim())
    && !it.getAttribute("aria-label") && !it.textContent.trim())
  .map((it) => it.outerHTML)"""
FOCUSED = """() => { const it = document.activeElement; const rest = getComputedStyle(it);
  const around = getComputedStyle(it.closest(".composer") ?? it);
  const beside = it.nextElementSibling && getComputedStyle(it.nextElementSibling);
  return [it.id || it.name || it.className || it.textContent,
    [rest, around, beside].some((look) => look && parseFloat(look.outlineWidth) >= 2
      && look.outlineStyle !== "none")]; }"""


def expect(*arguments):
    from playwright.sync_api import expect as expected

    return expected(*arguments)


@pytest.fixture(scope="module")
def url(serve):
    served = serve(WrittenEngine(TEXT, SHIFTS))
    preferences = [{"text": "Be brief.", "weight": 0.5, "when": {"task": "email"}}, "W" * 300]
    for _ in range(2):
        httpx.put(f"{served}/v1/profiles/{'u' * 200}", json={"preferences": preferences})
        preferences.pop()
    return served


def ask_by_keyboard(page):
    page.get_by_label("Your question").focus()
    page.keyboard.type("How do I make tea?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Both answers are finished.")


def views(page):
    """The page before a question, with an answer, with a profile, and with an error."""
    expect(page.locator("#model")).to_have_text("tiny")
    yield "welcome"
    ask_by_keyboard(page)
    yield "answers"
    if not page.locator("#settings").is_visible():
        page.locator("#side > summary").click()
    page.get_by_label("A profile", exact=True).check()
    page.get_by_label("User", exact=True).fill("u" * 200)
    page.get_by_role("button", name="See and change the profile").click()
    expect(page.locator("#history li")).not_to_have_count(0)
    path = f"{page.url}v1/profiles/{'u' * 200}"
    httpx.patch(path, json={"guidance_scale": 1 + httpx.get(path).json()["version"] / 100})
    page.locator("#profile-rows .text").first.fill("a\u202eb")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#conflict")).to_be_visible()
    yield "profile"
    page.locator("#profile-rows .text").first.fill("")
    page.get_by_role("button", name="Save", exact=True).click()
    yield "an empty preference"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_and_every_control_a_name(url, open_page, scheme):
    page = open_page(url, color_scheme=scheme)
    for view in views(page):
        low = [it for it in page.evaluate(CONTRASTS) if it[0] < 4.5]
        assert not low, (view, low)
        assert page.evaluate(NAMELESS) == [], view
        ids = page.locator("[id]").evaluate_all("all => all.map((it) => it.id)")
        assert len(ids) == len(set(ids)), view


def test_a_narrow_screen_is_not_scrolled_sideways(url, open_page):
    page = open_page(url, viewport={"width": 320, "height": 640}, has_touch=True)
    for view in views(page):
        assert page.evaluate("document.documentElement.scrollWidth") == 320, view
    page.get_by_role("button", name="Back to the answers").click()
    page.locator(".t").nth(5).tap()
    box = page.get_by_role("tooltip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320


def test_the_page_is_walked_by_keyboard_alone(url, open_page):
    page = open_page(url)
    expect(page.locator("#model")).to_have_text("tiny")
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(FOCUSED)
        assert is_visible, f"the focus of {name} cannot be seen"
        seen.append(name)
        if name == "question":
            break
    order = ["source", "row-1", "row-1-weight", "add-own", "strength-number", "strength"]
    places = [seen.index(it) for it in [*order, "question"]]
    assert places == sorted(places)
    assert seen[0] == "skip"
    page.keyboard.type("How do I make tea?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Both answers are finished.")
    expect(page.get_by_label("Your question")).to_be_focused()
    while page.evaluate("!document.activeElement.matches('.t')"):
        page.keyboard.press("Shift+Tab")
    facts = page.get_by_role("tooltip")
    for key, at in (("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        page.keyboard.press(key)
        tokens = page.locator(".t")
        expect(tokens.nth(at)).to_be_focused()
        expect(facts).to_be_visible()
        expect(tokens.nth(at)).to_have_attribute("aria-describedby", "facts")
    page.keyboard.press("Escape")
    expect(facts).to_be_hidden()
    page.keyboard.press("Tab")  # all tokens are one stop
    assert page.evaluate("!document.activeElement.matches('.t')")


def test_tokens_are_not_announced_and_the_end_is(url, open_page):
    page = open_page(url, reduced_motion="reduce")
    live = "[aria-live], [role=status], [role=alert], output"
    assert page.locator(f".answer :is({live}), .answer:is({live})").count() == 0
    ask_by_keyboard(page)
    assert page.locator(f".turn .answer :is({live})").count() == 0
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
