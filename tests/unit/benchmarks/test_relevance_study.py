"""The study of where preferences belong: what counts as right and followed, and its choice."""

from __future__ import annotations

import pytest

from benchmarks.defaults.settings import BASE, PREF
from benchmarks.defaults.study import RecordedAnswer
from benchmarks.relevance.gates import OPEN, Pair, StudiedGate
from benchmarks.relevance.neutral import POOL, neutral_questions
from benchmarks.relevance.parts import DEFAULT, SETTINGS, asked_under, known_questions
from benchmarks.relevance.preferences import PREFERENCES, of_half
from benchmarks.relevance.report import area_under_curve, choose, figures

RIGHT = [
    ("What is 12 plus 8?", "12 + 8 = 20."),
    ("What is the capital of Poland?", "warsaw!"),
    ("What does HTML stand for?", "HyperText Markup Language"),
    ('Spell the word "sun" letter by letter.', "S-U-N"),
    ('What is the past tense of the verb "go"?', 'It is "went".'),
]
WRONG = [
    ("What is 12 plus 8?", "200"),
    ("What is 5 plus 3?", "8. That is a list.\n8) So is that."),  # the numbers of a list
    ("What is the capital of Poland?", "Krakow"),
    ('Spell the word "sun" letter by letter.', "sun"),
]


@pytest.mark.parametrize(("question", "answer"), RIGHT)
def test_right_answers_are_found(question, answer):
    assert POOL[question].is_right(answer)


@pytest.mark.parametrize(("question", "answer"), WRONG)
def test_wrong_answers_are_found(question, answer):
    assert not POOL[question].is_right(answer)


def test_there_are_enough_questions_and_preferences():
    assert len(POOL) >= 400
    assert {found.kind for found in POOL.values()} == {"arithmetic", "facts", "code", "spelling"}
    for half in (0, 1):
        own = of_half(half).values()
        assert sum(len(it.questions) for it in own) == 40
        assert sum(it.is_style for it in own) == 3


def test_what_a_program_takes_as_followed():
    def followed(name, answer, ended=True):
        return PREFERENCES[name].is_followed(answer, ended=ended)

    assert followed("short", "It is blue.")
    assert not followed("short", "It is blue.", ended=False)
    assert not followed("short", "It is blue. It is wide.")
    assert followed("list", "Well:\n1. Tea")
    assert not followed("list", "In 1. place")
    assert followed("pirate", "Arr, the sea!")
    assert not followed("pirate", "Your parrot")
    assert followed("lisbon", "Along the Tejo in Lisbon.")


def test_every_second_preference_of_its_half_is_asked_a_neutral_question():
    answers = [_answer(BASE, it.key, "", POOL[it.key].right) for it in neutral_questions()]
    known = {half: known_questions(answers, half) for half in (0, 1)}
    assert not {it.key for it in known[0]} & {it.key for it in known[1]}
    for half, asked in known.items():
        times = dict.fromkeys((it.key for it in asked), 0)
        for name in of_half(half):
            for question in asked_under(name, answers):
                if question.key in POOL:
                    times[question.key] += 1
        assert set(times.values()) <= {3, 4}  # three where one of them is about code


def _answer(setting, asked, name, text):
    return RecordedAnswer(
        set_up="default",
        setting=setting.name,
        set_="neutral",
        asked=asked,
        preference=name,
        text=text,
        ended=True,
        base=[],
        pref=[],
        end_base=[],
        end_pref=[],
        held=0.0,
    )


def _pair(asked, name, base, guided, score):
    texts = dict.fromkeys(SETTINGS, guided) | {BASE: base}
    answers = {setting: _answer(setting, asked, name, text) for setting, text in texts.items()}
    return Pair(asked, name, answers, {"near": score})


CONCERNED = PREFERENCES["lisbon"].questions
PAIRS = [
    _pair("What is 12 plus 8?", "lisbon", "20", "Lisbon", 0.1),
    _pair("What is 12 plus 3?", "lisbon", "15", "15", 0.2),
    _pair(CONCERNED[0], "lisbon", "A walk", "A walk in Lisbon", 0.3),
    _pair(CONCERNED[1], "lisbon", "A museum", "A museum in Lisbon", 0.15),
    _pair("What is 12 plus 8?", "pirate", "20", "Arr, 20", 0.9),
]


def test_figures_are_counted_by_hand():
    found = figures(PAIRS, DEFAULT)
    assert found.lost.mean == pytest.approx(1 / 3)
    assert (found.topics.mean, found.style.mean) == (1.0, 1.0)
    behind = figures(PAIRS, DEFAULT, StudiedGate("near", 0.25))
    assert (behind.lost.mean, behind.topics.mean, behind.style.mean) == (0.0, 0.5, 1.0)
    assert figures(PAIRS, DEFAULT, StudiedGate("near", 0.25, PREF)).topics.mean == 1.0
    assert area_under_curve(PAIRS, "near") == 0.75


def test_the_chosen_threshold_loses_no_preference_that_is_followed():
    chosen = choose("near", PAIRS)
    assert 0.1 < chosen.threshold <= 0.15
    assert figures(PAIRS, DEFAULT, chosen).lost.mean == 0.0
    swapped = [it._replace(scores={"near": -it.scores["near"]}) for it in PAIRS]
    assert choose("near", swapped).setting(swapped[0], DEFAULT) == DEFAULT
    assert OPEN.setting(PAIRS[0], DEFAULT) == DEFAULT
