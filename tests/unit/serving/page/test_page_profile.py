"""The profile in a real browser: its history, changes, and changes that others make meanwhile."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.explanation.made import MARKUP
from tests.unit.serving.page.written_engine import WrittenEngine

HOSTILE_USER = "<b>ann</b>/../\u202e"


def expect(*arguments):
    from playwright.sync_api import expect as expected

    return expected(*arguments)


@pytest.fixture(scope="module")
def url(serve):
    return serve(WrittenEngine("Tea."))


@pytest.fixture
def ann(url):
    """The path of a profile with a history of two versions."""
    path = f"{url}/v1/profiles/ann"
    httpx.delete(path, params={"erase": True})
    httpx.put(path, json={"preferences": ["Be brief."], "preset": "strong"})
    when = {"text": "Greet me.", "name": "greeting", "when": {"task": "email"}, "weight": -0.5}
    httpx.put(path, json={"preferences": ["Be brief.", when], "max_kl": None, "gate": "similarity"})
    return path


@pytest.fixture
def profile(url, ann, open_page):
    """The page with the profile open."""
    page = open_page(url)
    open_profile(page, "ann")
    return page


def open_profile(page, user):
    page.get_by_label("A profile", exact=True).check()
    page.get_by_label("User", exact=True).fill(user)
    page.get_by_role("button", name="See and change the profile").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Profile of")
    expect(page.locator("#history li").first).to_be_visible()


def test_a_profile_and_its_history_are_shown(profile):
    expect(profile.locator("#profile-rows .text").first).to_have_value("Be brief.")
    expect(profile.get_by_label("greeting", exact=True)).to_have_value("Greet me.")
    expect(profile.get_by_label("Weight of greeting")).to_have_value("-0.5")
    expect(profile.locator("#profile-rows")).to_contain_text("Applies where task is email.")
    expect(profile.locator("#profile-bound")).to_have_value("none")
    newest, oldest = profile.locator("#history li").all_text_contents()
    assert "Version 2 · Saved" in newest
    assert "Added “Greet me.”, weight \u22120.5." in newest
    assert "Strength strong → strength left to the server." in newest
    assert "Gate left to the server → gate by similarity, from 0.14 on." in newest
    assert "Added “Be brief.”." in oldest
    expect(profile.locator("#applies")).to_contain_text("does not apply")


def test_a_change_is_saved_and_keeps_what_the_form_does_not_show(profile, ann):
    before = httpx.get(ann).json()
    profile.locator("#profile-rows .text").first.fill("Be very brief.")
    profile.get_by_label("Weight of Preference 1").fill("0.5")
    profile.get_by_role("button", name="Save").click()
    expect(profile.locator("#profile-status")).to_have_text("Saved.")
    expect(profile.locator("#history li").first).to_contain_text("Version 3")
    after = httpx.get(ann).json()
    expected = [{**before["preferences"][0], "text": "Be very brief.", "weight": 0.5}]
    assert after["preferences"] == [*expected, before["preferences"][1]]
    assert after["gate"] == before["gate"] == {"kind": "similarity", "threshold": 0.14}
    changed = {"preferences", "version", "updated_at"}
    assert {name for name in after if after[name] != before[name]} == changed
    profile.get_by_role("button", name="Restore version 2").click()
    expect(profile.locator("#profile-status")).to_have_text("Version 2 is back.")
    assert httpx.get(ann).json()["preferences"] == before["preferences"]


@pytest.mark.parametrize("choice", ["Save mine over it", "Use the newer one"])
def test_nothing_is_lost_where_somebody_changed_it_meanwhile(profile, ann, choice):
    first = profile.locator("#profile-rows .text").first
    first.fill("Mine.")
    httpx.put(ann, json={"preferences": ["Theirs."]})
    profile.get_by_role("button", name="Save").click()
    expect(profile.get_by_role("heading", name="Somebody changed it meanwhile")).to_be_focused()
    expect(profile.locator("#newer")).to_contain_text("Theirs.")
    expect(first).to_have_value("Mine.")
    assert httpx.get(ann).json()["preferences"][0]["text"] == "Theirs."
    profile.get_by_role("button", name=choice).click()
    if choice.startswith("Use"):
        expect(first).to_have_value("Theirs.")
        profile.get_by_role("button", name="Bring back what I typed").click()
        expect(first).to_have_value("Mine.")
        profile.get_by_role("button", name="Save", exact=True).click()
    expect(profile.locator("#profile-status")).to_have_text("Saved.")
    assert httpx.get(ann).json()["preferences"][0]["text"] == "Mine."


def test_what_is_not_saved_is_there_after_a_look_at_another_user(profile):
    first = profile.locator("#profile-rows .text").first
    first.fill("Not saved.")
    profile.get_by_label("User", exact=True).fill("bob")
    expect(profile.locator("#profile-title")).to_have_text("Profile of bob")
    profile.get_by_label("User", exact=True).fill("ann")
    expect(first).to_have_value("Not saved.")
    profile.get_by_role("button", name="Back to the answers").click()
    profile.get_by_role("button", name="See and change the profile").click()
    expect(first).to_have_value("Not saved.")
    profile.get_by_role("button", name="Undo my changes").click()
    expect(first).to_have_value("Be brief.")


def test_a_wrong_value_is_refused_in_words_and_kept(profile):
    profile.locator("#profile-rows .text").first.fill("x" * 2001)
    profile.get_by_role("button", name="Save").click()
    expect(profile.locator("#profile-error")).to_contain_text("2,00")
    expect(profile.locator("#profile-rows .text").first).to_have_value("x" * 2001)


def test_a_profile_is_deleted_with_its_history(profile, ann):
    profile.get_by_role("button", name="Delete this profile").click()
    profile.get_by_label("Erase the history").check()
    profile.get_by_role("button", name="Delete", exact=True).click()
    expect(profile.locator("#profile-version")).to_have_text("Nothing is stored yet.")
    expect(profile.locator("#history")).to_have_text("No change is recorded.")
    assert httpx.get(ann).status_code == 404


def test_hostile_users_and_preferences_are_text(url, open_page):
    from urllib.parse import quote

    texts = [it.strip() for it in MARKUP] + ["a\u202eb"]
    path = f"{url}/v1/profiles/{quote(HOSTILE_USER, safe='')}"
    assert httpx.put(path, json={"preferences": texts}).status_code in {200, 201}
    page = open_page(url)
    expect(page.locator("#users option")).not_to_have_count(0)
    users = page.locator("#users option").evaluate_all("all => all.map((it) => it.value)")
    assert HOSTILE_USER in users
    before = page.locator("script, img, b, style, link").count()
    open_profile(page, HOSTILE_USER)
    expect(page.locator("#profile-title [data-s='⟨U+202E⟩']")).to_have_count(1)
    fields = page.locator("#profile-rows .text").evaluate_all("all => all.map(it => it.value)")
    assert fields == texts
    expect(page.locator("#profile-rows .hidden-signs").last).to_contain_text("a⟨U+202E⟩b")
    for place in ("#profile-summary", "#applies"):
        for text in MARKUP[:4]:
            expect(page.locator(place)).to_contain_text(text.strip())
    assert page.locator("script, img, style, link").count() <= before
    assert page.title() == "Amulet: plain and personalised answers"
    page.get_by_label("User", exact=True).fill("..")
    expect(page.locator("#profile-trouble")).to_contain_text("A browser cannot ask")
