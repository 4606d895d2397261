"""The preferences, when a program takes one as followed, and the questions that concern them."""

from __future__ import annotations

import re
from typing import NamedTuple

from benchmarks.defaults.questions import Question

_SENTENCE = re.compile(r"[.!?](?:\s|$)")
_MOST_WORDS = 20


class StudiedPreference(NamedTuple):
    """A preference of the study.

    Attributes:
        text: The preference.
        half: 0: gates are chosen with it. 1: it is in the tables.
        followed: A pattern that answers hold which follow it, whatever their case.
        questions: Those that it concerns; empty for one of style, which concerns them all.
        kinds: Kinds of neutral questions that it concerns after all.
    """

    text: str
    half: int
    followed: str
    questions: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def is_style(self) -> bool:
        """Whether it belongs into every answer."""
        return not self.questions

    def is_followed(self, answer: str, *, ended: bool) -> bool:
        """Whether an answer follows it, as far as a program can tell.

        Args:
            answer: The text.
            ended: Whether the model ended it.
        """
        if self.followed == "one short sentence":
            sentences = len(_SENTENCE.findall(answer))
            return ended and sentences <= 1 and 0 < len(answer.split()) <= _MOST_WORDS
        flags = re.IGNORECASE | re.MULTILINE
        return re.search(self.followed, answer, flags) is not None


PREFERENCES = {
    "vegetarian": StudiedPreference(
        "I am a vegetarian.",
        0,
        r"vegetarian|vegan|meatless|without meat|plant[- ]based|tofu|lentil|chickpea",
        (
            "Suggest a dish for dinner tonight.",
            "What should I cook for my friends?",
            "Which soup can I make this evening?",
            "Give me an idea for a quick lunch.",
            "What should I order in a restaurant?",
            "What can I put on a pizza?",
            "Which foods give me protein?",
            "What should I buy at the supermarket for the week?",
        ),
    ),
    "lisbon": StudiedPreference(
        "I live in Lisbon.",
        0,
        r"lisbo|portug",
        (
            "Where can I go for a walk this weekend?",
            "Which museum near my home should I visit?",
            "What is the weather like where I live?",
            "Suggest a day trip from my city.",
            "Which local food should I try?",
            "Where can I meet new people near me?",
            "Which beach is close to my home?",
            "What should I show visitors in my town?",
        ),
    ),
    "python": StudiedPreference(
        "I write all my code in Python.",
        0,
        r"python|\bdef \w|\bprint\(|\bimport \w|\.py\b",
        (
            "How do I reverse a list in my code?",
            "Show me how to write a loop.",
            "How do I read a file line by line in a program?",
            "Write a function that adds two numbers.",
            "How can I sort numbers in my program?",
            "How do I check whether a number is even in code?",
            "Which tools should I use to test my program?",
            "How do I make a web request in my code?",
        ),
        ("code",),
    ),
    "dog": StudiedPreference(
        "I have a dog named Bruno.",
        0,
        r"\bdogs?\b|bruno|pupp",
        (
            "What should I buy at the pet shop?",
            "How can I keep my pet healthy?",
            "Write a short poem about my pet.",
            "Who can I take for a walk in the park?",
            "What should my pet eat?",
            "How do I teach my pet a trick?",
            "What should I do with my pet when I travel?",
            "Which game can I play with my pet?",
        ),
    ),
    "guitar": StudiedPreference(
        "I play the guitar.",
        0,
        r"guitar|chords?\b|strum|strings",
        (
            "How can I practise my instrument better?",
            "Which songs should I learn to play?",
            "What should I play at the school concert?",
            "How do I take care of my instrument?",
            "How do I join a band?",
            "What should I bring to my music lesson?",
            "Write a short poem about my instrument.",
            "How can I get better at music?",
        ),
    ),
    "short": StudiedPreference("Answer in one short sentence.", 0, "one short sentence"),
    "pirate": StudiedPreference(
        "Answer like a friendly pirate.",
        0,
        r"\barr+\b|ahoy|matey?s?\b|\bye\b|\baye\b|pirate|treasure|\bship|captain|\bsail|\bseas?\b",
    ),
    "list": StudiedPreference("Answer with a numbered list.", 0, r"^\s*1[.)]\s"),
    "nuts": StudiedPreference(
        "I am allergic to nuts.",
        1,
        r"allerg|nut[- ]free|without nuts|no nuts|avoid",
        (
            "Which snack can I take to work?",
            "Suggest a cake that I can bake.",
            "What should I tell the waiter in a restaurant?",
            "What can I eat for breakfast?",
            "Which cookies should I buy?",
            "What should I look for on food labels?",
            "Which spread can I put on my bread?",
            "What should I have for dessert?",
        ),
    ),
    "tokyo": StudiedPreference(
        "I live in Tokyo.",
        1,
        r"tokyo|japan|shinjuku|shibuya|ueno|asakusa",
        (
            "Where can I go running near my home?",
            "Which park in my city is the nicest?",
            "How do I get to work by train?",
            "Which restaurant near me should I try?",
            "What can I do in my city on a rainy day?",
            "Where can I buy books near my home?",
            "Write a postcard about my city.",
            "Which festivals are there where I live?",
        ),
    ),
    "nurse": StudiedPreference(
        "I work as a nurse.",
        1,
        r"\bnurs|hospital|patients?\b|medical|health ?care|scrubs|clinic",
        (
            "What should I wear at work?",
            "How can I do my job better?",
            "Write a short text about my work day.",
            "Which skills matter in my job?",
            "How can I explain my job to children?",
            "What should I write in my application for a new job?",
            "Who do I meet at work every day?",
            "Which course should I take for my career?",
        ),
    ),
    "electric": StudiedPreference(
        "My car is electric.",
        1,
        r"electric|charg|batter|\bev\b",
        (
            "How can I save money on my car?",
            "How do I get my car ready for a long trip?",
            "What should I check on my car every month?",
            "Why does my car go less far in winter?",
            "What should I do when my car has no energy left?",
            "How is my car good for the environment?",
            "What do I need in my garage for my car?",
            "Describe my car in one sentence.",
        ),
    ),
    "tennis": StudiedPreference(
        "My favorite sport is tennis.",
        1,
        r"tennis|racke?t|racquet|\bcourts?\b|wimbledon",
        (
            "Which sport should I play with my friends?",
            "What should I watch on the sports channel?",
            "What should I buy in a sports shop?",
            "How can I get better at my sport?",
            "Write a short poem about my favorite sport.",
            "Which athletes should I read about?",
            "What should I do at the sports club?",
            "Which shoes do I need for my sport?",
        ),
    ),
    "bullets": StudiedPreference("Answer with bullet points.", 1, r"^\s*[-*•]\s"),
    "reader": StudiedPreference(
        'Begin every answer with the words "Dear reader".', 1, r"dear reader"
    ),
    "cowboy": StudiedPreference(
        "Answer like a cheerful cowboy.",
        1,
        r"howdy|partner|y'all|cowboy|yee|reckon|saddle|ranch|\bhorse|\bhat\b|\bfolks?\b",
    ),
}
"""All by their names; each half has five about a topic and three of style."""


def concerned_questions(name: str) -> list[Question]:
    """The questions that a preference about a topic concerns."""
    return [Question(text, f"concerned/{name}", text) for text in PREFERENCES[name].questions]


def of_half(half: int) -> dict[str, StudiedPreference]:
    """The preferences of a half by their names."""
    return {name: each for name, each in PREFERENCES.items() if each.half == half}
