"""Simple facts, each with what a right answer holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.defaults.questions import Question


class Fact(NamedTuple):
    """A question with a short answer.

    Attributes:
        question: What is asked.
        right: A pattern that right answers hold, whatever their case.
    """

    question: str
    right: str


FACTS = tuple(
    Fact(*fact)
    for fact in (
        ("What is the capital of Italy?", r"\bRome\b"),
        ("What is the capital of Japan?", r"\bTokyo\b"),
        ("What is the capital of Germany?", r"\bBerlin\b"),
        ("What is the capital of Spain?", r"\bMadrid\b"),
        ("What is the capital of Russia?", r"\bMoscow\b"),
        ("What is the capital of China?", r"\bBeijing\b"),
        ("What is the capital of Egypt?", r"\bCairo\b"),
        ("What is the capital of Greece?", r"\bAthens\b"),
        ("What is the capital of England?", r"\bLondon\b"),
        ("What is the capital of Canada?", r"\bOttawa\b"),
        ("What is 7 times 8?", r"\b56\b|fifty[- ]six"),
        ("What is 2 plus 2?", r"\b4\b|\bfour\b"),
        ("What is 10 minus 3?", r"\b7\b|\bseven\b"),
        ("What is 5 times 5?", r"\b25\b|twenty[- ]five"),
        ("What is 12 plus 8?", r"\b20\b|\btwenty\b"),
        ("What is 100 divided by 4?", r"\b25\b|twenty[- ]five"),
        ("What is half of 50?", r"\b25\b|twenty[- ]five"),
        ("How many legs does a spider have?", r"\b8\b|\beight\b"),
        ("How many legs does a dog have?", r"\b4\b|\bfour\b"),
        ("How many days are in a week?", r"\b7\b|\bseven\b"),
        ("How many months are in a year?", r"\b12\b|\btwelve\b"),
        ("How many hours are in a day?", r"\b24\b|twenty[- ]four"),
        ("How many minutes are in an hour?", r"\b60\b|\bsixty\b"),
        ("How many sides does a triangle have?", r"\b3\b|\bthree\b"),
        ("How many letters are in the English alphabet?", r"\b26\b|twenty[- ]six"),
        ("How many continents are there?", r"\b7\b|\bseven\b"),
        ("How many wheels does a bicycle have?", r"\b2\b|\btwo\b"),
        ("How many planets are in the solar system?", r"\b8\b|\beight\b"),
        ("What color is grass?", r"\bgreen\b"),
        ("What color is the sky on a clear day?", r"\bblue\b"),
        ("What color is a ripe banana?", r"\byellow\b"),
        ("What color is snow?", r"\bwhite\b"),
        ("What color do you get when you mix blue and yellow?", r"\bgreen\b"),
        ("What is the opposite of hot?", r"\bcold\b"),
        ("What is the opposite of up?", r"\bdown\b"),
        ("What is the opposite of big?", r"\bsmall\b|\blittle\b|\btiny\b"),
        ("What is the opposite of day?", r"\bnight\b"),
        ("What is the opposite of happy?", r"\bsad\b|\bunhappy\b"),
        ("Who wrote Romeo and Juliet?", r"\bShakespeare\b"),
        ("Who painted the Mona Lisa?", r"\bLeonardo\b|\bda Vinci\b"),
        ("Who was the first president of the United States?", r"\bWashington\b"),
        ("Who developed the theory of relativity?", r"\bEinstein\b"),
        ("What is the largest planet in the solar system?", r"\bJupiter\b"),
        ("Which planet is closest to the sun?", r"\bMercury\b"),
        ("What is the largest ocean?", r"\bPacific\b"),
        ("What is the highest mountain in the world?", r"\bEverest\b"),
        ("What is the chemical formula of water?", r"H2O|H₂O|H_2O"),
        ("What is the chemical symbol for gold?", r"\bAu\b"),
        ("What gas do plants take in from the air?", r"carbon dioxide|\bCO2\b|CO₂"),
        ("At what temperature in Celsius does water boil?", r"\b100\b|one hundred"),
        ("At what temperature in Celsius does water freeze?", r"\b0\b|\bzero\b"),
        ("What do bees make?", r"\bhoney\b"),
        ("What is a baby dog called?", r"\bpupp(?:y|ies)\b|\bpup\b"),
        ("What is a baby cat called?", r"\bkittens?\b"),
        ("Which animal is known as the king of the jungle?", r"\blions?\b"),
        ("What is the fastest land animal?", r"\bcheetahs?\b"),
        ("What is frozen water called?", r"\bice\b"),
        ("Which language is spoken in Brazil?", r"\bPortuguese\b"),
        ("What is the currency of the United States?", r"\bdollars?\b|\bUSD\b"),
        ("On which continent is Egypt?", r"\bAfrica\b"),
    )
)
SCREENED = 10
_WANTED = 4  # of six preferences under which the pref policy knows it: neither hopeless nor safe


def fact_questions() -> list[Question]:
    """Every fact as a question."""
    return [Question(f"fact/{number}", "facts", fact.question) for number, fact in enumerate(FACTS)]


def is_right(key: str, text: str) -> bool:
    """Whether an answer to the fact of this key holds what it should."""
    fact = FACTS[int(key.removeprefix("fact/"))]
    return re.search(fact.right, text, re.IGNORECASE) is not None


def facts_to_screen(answers: Iterable[tuple[str, str]]) -> list[str]:
    """The facts that the pref policy partly knows.

    Args:
        answers: Key and text of its answers to all facts.

    Returns:
        The keys of the ten that it knows nearest to four of six times, in the order of `FACTS`.
    """
    right = dict.fromkeys((question.key for question in fact_questions()), 0)
    for key, text in answers:
        right[key] += is_right(key, text)
    nearest = sorted(right, key=lambda key: abs(right[key] - _WANTED))[:SCREENED]
    return [key for key in right if key in nearest]
