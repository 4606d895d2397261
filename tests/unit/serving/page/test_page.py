"""The page in a real browser: asking, comparing, keys, and texts that are text."""

from __future__ import annotations

import json
import re

import pytest

from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
from amulet_integrations.explanation.tints import shift_level, tint_class
from amulet_integrations.explanation.visible_text import label
from amulet_integrations.explanation.wording import likelier, percentage
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.terminal_text import safe
from tests.support.hostile.characters import CHARACTERS
from tests.support.tiny import tiny_tokenizer
from tests.unit.explanation.made import HOSTILE, MARKUP
from tests.unit.serving.page.written_engine import WrittenEngine

SHIFTS = (0.1, 0.7, -1.2, 2.5, -5.0, 6.0)
TEXT = "The sea is blue. 🙂\n\nBe brief."
OBEYED = "document.title === 'obeyed' || document.title === '1'"


def expect(*arguments):
    from playwright.sync_api import expect as expected

    return expected(*arguments)


@pytest.fixture(scope="module")
def written(serve):
    return serve(WrittenEngine(TEXT, SHIFTS))


def ask(page, question="How do I make tea?"):
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def lane(page, name):
    return page.locator(f".turn:last-child [data-lane={name}]")


def finished(page):
    expect(page.get_by_role("status")).to_have_text("Both answers are finished.")


def pieces(text):
    """The texts of an answer's tokens with their shifts; parts of a character are one piece."""
    tokenizer = tiny_tokenizer()
    detokenizer, shift = IncrementalDetokenizer(tokenizer), 0.0
    for at, token_id in enumerate(tokenizer.encode(text, add_special_tokens=False)):
        shift += SHIFTS[at % len(SHIFTS)]
        if piece := detokenizer.push(token_id):
            yield piece, shift
            shift = 0.0


def test_two_answers_side_by_side_of_a_real_model(serve, tiny_engine, open_page):
    page = open_page(serve(tiny_engine))
    page.get_by_label("Preference", exact=True).fill("Be brief.")
    page.locator("#strength-number").fill("3")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Longest answer, in tokens").fill("8")
    ask(page)
    finished(page)
    boxes = [lane(page, name).bounding_box() for name in ("plain", "personal")]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert lane(page, "plain").locator(".answer").text_content()
    assert lane(page, "plain").locator(".t").count() == 0
    assert 0 < lane(page, "personal").locator(".t").count() <= 8
    expect(lane(page, "personal").locator(".asked")).to_have_text("Be brief.")
    applied = lane(page, "personal").locator(".applied")
    expect(applied).to_contain_text("Method amulet · strength 3 · bound 0.1 nats")
    expect(lane(page, "plain").locator(".applied")).to_contain_text("No preference · ")


def test_each_token_has_the_tint_and_the_facts_of_its_shift(written, open_page):
    page = open_page(written)
    ask(page)
    finished(page)
    tokens = lane(page, "personal").locator(".t")
    texts = tokens.all_text_contents()
    assert "".join(texts) == TEXT
    assert "🙂" in "".join(texts)
    classes = tokens.evaluate_all("all => all.map((it) => it.className)")
    for (text, shift), shown, names in zip(pieces(TEXT), texts, classes, strict=True):
        level = shift_level(shift)
        assert shown == safe(text)
        assert names.split() == ["t", *([tint_class(level)] if level else [])]
    facts = page.get_by_role("tooltip")
    expect(facts).to_be_hidden()
    for at in (0, 3, 4):
        tokens.nth(at).hover()
        expect(facts).to_contain_text(label(texts[at]))
        expect(facts).to_contain_text(likelier(SHIFTS[at]))
        for value in (-5.0, -4.5, -5.0 + SHIFTS[at]):
            expect(facts).to_contain_text(percentage(value))
    page.mouse.move(1, 1)
    expect(facts).to_be_hidden()


def test_the_page_and_the_explanations_say_the_same(written, open_page):
    page = open_page(written)
    texts = [
        it for it in HOSTILE if it.isprintable() or it.encode("utf-8", "replace").decode() == it
    ]
    assert page.evaluate("texts => texts.map(label)", texts) == [label(it) for it in texts]
    shown = page.evaluate(
        "texts => texts.map((text) => make('p', '', ...visible(text, false)).textContent)", texts
    )
    assert shown == [safe(it) for it in texts]
    shifts = [at / 7 for at in range(-120, 121)]
    classes = [tint_class(it) if it else "" for it in map(shift_level, shifts)]
    assert page.evaluate("all => all.map(tint)", shifts) == classes
    assert page.evaluate("all => all.map(likelier)", shifts) == [likelier(it) for it in shifts]
    logprobs = [-at / 5 for at in range(60)]
    assert page.evaluate("all => all.map(percentage)", logprobs) == list(map(percentage, logprobs))


def test_stop_ends_both_answers_and_frees_the_engine(serve, open_page):
    engine = WrittenEngine(None, pause=0.01)
    page = open_page(serve(engine))
    ask(page)
    for name in ("plain", "personal"):  # both are written at once
        expect(lane(page, name).locator(".state")).to_have_text("Writing")
    assert engine.running == 2
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    expect(page.get_by_label("Your question")).to_be_focused()
    for name in ("plain", "personal"):
        expect(lane(page, name).locator(".state")).to_have_text("Stopped")
    for _ in range(500):
        if engine.running == 0:
            break
        page.wait_for_timeout(20)
    assert engine.running == 0
    ask(page, "And now?")  # what was written so far is part of the conversation
    expect(lane(page, "plain").locator(".state")).to_have_text("Writing")
    page.get_by_role("button", name="Stop").click()


def test_a_conversation_goes_on_with_the_answers_of_each_side(written, open_page):
    page = open_page(written)
    sent = []
    page.on("request", lambda it: sent.append(it.post_data) if "chat" in it.url else None)
    ask(page, "One?")
    finished(page)
    ask(page, "Two?")
    expect(page.locator(".turn")).to_have_count(2)
    finished(page)
    for body in map(json.loads, sent[2:]):
        roles = [(it["role"], it["content"]) for it in body["messages"]]
        assert roles == [("user", "One?"), ("assistant", TEXT), ("user", "Two?")]
    assert len({json.loads(body)["seed"] for body in sent[2:]}) == 1
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".turn")).to_have_count(0)


def test_hostile_texts_are_text(serve, open_page):
    texts = [*MARKUP]
    texts += [it for group in CHARACTERS.values() for it in group]
    # Those that the tokenizer obeys are left out, and long ones.
    hostile = "\n".join(it for it in texts if "<|" not in it and len(it) < 100)
    hostile = hostile.replace("\0", "").encode("utf-8", "replace").decode()
    page = open_page(serve(WrittenEngine(hostile, SHIFTS)))
    before = page.locator("script, img, iframe, style, link").count()
    page.get_by_label("Preference", exact=True).fill(MARKUP[0])
    ask(page, f"{MARKUP[2]} \u202e {MARKUP[0]}")
    finished(page)
    expect(page.locator(".question")).to_contain_text(f"{MARKUP[2]} \ufffd {MARKUP[0]}")
    expect(lane(page, "personal").locator(".asked")).to_have_text(MARKUP[0])
    assert lane(page, "personal").locator(".answer").text_content() == safe(hostile)
    assert lane(page, "plain").locator(".answer").text_content() == safe(hostile)
    assert page.locator("script, img, iframe, style, link").count() == before
    assert not page.evaluate(OBEYED)
    expect(lane(page, "personal").locator("[data-s='⟨U+202E⟩']").first).to_be_attached()


def test_an_error_is_said_and_the_question_is_kept(written, open_page):
    page = open_page(written)
    page.get_by_text("More", exact=True).click()
    page.locator("#bound").select_option("own")
    page.get_by_label("Bound in nats a token").fill("-1")
    ask(page, "<b>Tea</b>?")
    alert = lane(page, "personal").get_by_role("alert")
    expect(alert).to_contain_text("max_kl")
    expect(page.get_by_label("Your question")).to_have_value("<b>Tea</b>?")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page)
    expect(lane(page, "plain").get_by_role("alert")).to_contain_text("cannot be reached")


def test_a_busy_server_says_when_to_try_again(written, open_page):
    page = open_page(written)
    busy = {"status": 429, "headers": {"Retry-After": "3"}, "body": "{}"}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(**busy))
    ask(page)
    expect(lane(page, "plain").get_by_role("alert")).to_contain_text("Try again in 3 seconds.")


def test_a_model_that_is_being_loaded_is_waited_for(written, open_page):
    page = open_page("about:blank")
    body = json.dumps({"error": {"message": "Try again.", "code": "model_loading"}})
    page.route("**/v1/me", lambda route: route.fulfill(status=503, body=body), times=1)
    page.goto(written)
    expect(page.get_by_role("status")).to_contain_text("the page waits")
    expect(page.locator("#model")).to_have_text("tiny")
    expect(page.locator("#status")).to_have_text("")
    ask(page)
    finished(page)


def test_a_preference_that_is_empty_is_shown_where_it_is(written, open_page):
    page = open_page(written)
    page.get_by_label("Preference", exact=True).fill(" ")
    ask(page)
    field = page.get_by_label("Preference", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".turn")).to_have_count(0)


def test_a_preference_that_the_server_refuses_is_marked_where_it_is(written, open_page):
    page = open_page(written)
    page.get_by_label("Preference", exact=True).fill("Be brief.")
    page.locator("#add-own").click()
    second = page.get_by_label("Preference 2", exact=True)
    second.fill("long " * 500)
    ask(page)
    expect(lane(page, "personal").get_by_role("alert")).to_contain_text("characters")
    expect(second).to_have_attribute("aria-invalid", "true")
    expect(second).to_have_accessible_description(re.compile("characters"))
    first = page.get_by_label("Preference 1", exact=True)
    expect(first).not_to_have_attribute("aria-invalid", "true")
    second.fill("Be kind.")
    expect(second).not_to_have_attribute("aria-invalid", "true")


def test_a_key_is_asked_for_kept_for_the_tab_and_forgotten(serve, tmp_path, open_page):
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create(user_id="ann").text
    url = serve(WrittenEngine(TEXT, SHIFTS), keys=keys.path)
    page = open_page(url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server asks for a key")
    for given, words in (("wrong", "does not know"), (key, None)):
        page.get_by_label("Key", exact=True).fill(given)
        page.get_by_role("button", name="Use this key").click()
        if words:
            expect(dialog).to_contain_text(words)
    expect(dialog).to_be_hidden()
    expect(page.locator("#own-user")).to_have_text("ann")
    expect(page.get_by_label("User", exact=True)).to_be_hidden()
    ask(page)
    finished(page)
    assert key not in page.url
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    expect(page.locator("#own-user")).to_have_text("ann")
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_contain_text("This server asks for a key")
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_contain_text("Without a key")
    assert page.evaluate("sessionStorage.length") == 0
