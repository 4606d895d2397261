"""Questions that no preference has to do with, each with what a right answer holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.defaults.facts import FACTS
from benchmarks.defaults.questions import Question

_CAPITALS = (
    "France Paris, Austria Vienna, Poland Warsaw, Hungary Budapest, Norway Oslo, Sweden Stockholm, "
    "Finland Helsinki, Denmark Copenhagen, Ireland Dublin, Belgium Brussels, Cuba Havana, "
    "Peru Lima, Chile Santiago, Kenya Nairobi, India Delhi, Thailand Bangkok, Vietnam Hanoi, "
    "Turkey Ankara, Iran Tehran, Iraq Baghdad, Ukraine Kyiv|Kiev, Romania Bucharest, "
    "Bulgaria Sofia, Serbia Belgrade, Croatia Zagreb, Australia Canberra, Argentina Buenos, "
    "Venezuela Caracas, Colombia Bogot, Ecuador Quito, Bolivia Paz|Sucre, Nepal Kathmandu, "
    "Pakistan Islamabad, Afghanistan Kabul, Indonesia Jakarta, Malaysia Kuala, Syria Damascus, "
    "Jordan Amman, Lebanon Beirut, Israel Jerusalem, Scotland Edinburgh, Wales Cardiff, "
    "Iceland Reykjav, Czechia Prague, Slovakia Bratislava, Ethiopia Addis, Ghana Accra, "
    "Nigeria Abuja, Tunisia Tunis, Algeria Algiers, Libya Tripoli, Mongolia Ulaan"
)
_OPPOSITES = (
    "fast slow, tall short|small|low, light dark|heavy, open closed?, near far, young old, "
    "early late, hard soft|easy, clean dirty|unclean, full empty, rich poor, strong weak, "
    "left right, high low, inside outside, wet dry, loud quiet|soft|silent, cheap expensive, "
    "true false|untrue, thick thin, first last, north south, east west, black white, "
    "summer winter, love hate|hatred, win lose|loss|defeat, begin end|finish, push pull, "
    "old young|new, good bad|evil, long short, deep shallow, brave coward|cowardly|fearful|timid"
)
_PLURALS = (
    "child children, mouse mice, foot feet, tooth teeth, man men, woman women, goose geese, "
    "leaf leaves, knife knives, city cities, box boxes, wolf wolves, house houses, baby babies, "
    "church churches, lady ladies, story stories, person people|persons, ox oxen, bus buses, "
    "watch watches, country countries, life lives, half halves, hero heroes, table tables"
)
_PAST = (
    "go went, eat ate, run ran, see saw, write wrote, sing sang, swim swam, give gave, take took, "
    "come came, buy bought, think thought, teach taught, begin began, speak spoke, break broke, "
    "drive drove, fly flew, know knew, sleep slept, fall fell, find found, bring brought, "
    "walk walked, make made, tell told, say said, sit sat, stand stood, lose lost"
)
_SPELLED = "cat sun tree book house river stone green table music water light paper chair north"
_OTHERS = {
    "facts": {
        "How many days are in a year?": r"\b365\b",
        "How many seconds are in a minute?": r"\b60\b|\bsixty\b",
        "How many years are in a century?": r"\b100\b|\bhundred\b",
        "How many years are in a decade?": r"\b10\b|\bten\b",
        "How many sides does a square have?": r"\b4\b|\bfour\b",
        "How many sides does a hexagon have?": r"\b6\b|\bsix\b",
        "How many sides does a pentagon have?": r"\b5\b|\bfive\b",
        "How many hearts does a human have?": r"\b1\b|\bone\b",
        "How many fingers are on one hand?": r"\b5\b|\bfive\b",
        "How many legs does an insect have?": r"\b6\b|\bsix\b",
        "How many players does a chess game have?": r"\b2\b|\btwo\b",
        "How many centimeters are in a meter?": r"\b100\b|\bhundred\b",
        "How many meters are in a kilometer?": r"1,?000\b|\bthousand\b",
        "How many states are in the United States?": r"\b50\b|\bfifty\b",
        "Which planet is known as the Red Planet?": r"\bMars\b",
        "Which planet has the most famous rings?": r"\bSaturn\b",
        "Which star is at the center of the solar system?": r"\bsun\b",
        "What orbits the Earth at night and shines?": r"\bmoon\b",
        "What is the chemical symbol for oxygen?": r"\bO2?\b",
        "What is the chemical symbol for hydrogen?": r"\bH2?\b",
        "What is the chemical symbol for iron?": r"\bFe\b",
        "What is the chemical symbol for silver?": r"\bAg\b",
        "What is the chemical symbol for sodium?": r"\bNa\b",
        "What is the chemical symbol for carbon?": r"\bC\b",
        "What gas do humans need to breathe?": r"\boxygen\b",
        "What force pulls things toward the Earth?": r"\bgravity|gravitation",
        "Who invented the telephone?": r"\bBell\b",
        "Who discovered gravity?": r"\bNewton\b",
        "Who wrote Hamlet?": r"\bShakespeare\b",
        "Who wrote The Odyssey?": r"\bHomer\b",
        "Who wrote Pride and Prejudice?": r"\bAusten\b",
        "Who wrote 1984?": r"\bOrwell\b",
        "Who painted The Starry Night?": r"Gogh\b",
        "Who was the first person on the moon?": r"\bArmstrong\b",
        "Who proposed the theory of evolution by natural selection?": r"\bDarwin\b",
        "What is the longest river in Africa?": r"\bNile\b",
        "What is the largest desert of hot sand?": r"\bSahara\b",
        "What is the largest continent?": r"\bAsia\b",
        "What is the smallest continent?": r"\bAustralia\b",
        "On which continent is France?": r"\bEurope\b",
        "On which continent is India?": r"\bAsia\b",
        "On which continent is Brazil?": r"\bSouth America\b",
        "On which continent is Kenya?": r"\bAfrica\b",
        "Which language is spoken in Germany?": r"\bGerman\b",
        "Which language is spoken in Mexico?": r"\bSpanish\b",
        "Which language is spoken in Italy?": r"\bItalian\b",
        "What is the currency of the United Kingdom?": r"\bpounds?\b|sterling|GBP",
        "What is the currency of Germany?": r"\beuros?\b",
        "What is the currency of India?": r"\brupees?\b",
        "What is the hardest natural material?": r"\bdiamonds?\b",
        "What is the largest animal on Earth?": r"\bwhales?\b",
        "What is the tallest animal in the world?": r"\bgiraffes?\b",
        "What do caterpillars turn into?": r"butterfl|moth",
        "What color is a ruby?": r"\bred\b",
        "What color is an emerald?": r"\bgreen\b",
        "What color is a sapphire?": r"\bblue\b",
        "What color do red and yellow make when mixed?": r"\borange\b",
        "What color do red and white make when mixed?": r"\bpink\b",
        "Which month comes after March?": r"\bApril\b",
        "Which month comes before December?": r"\bNovember\b",
        "Which day comes after Monday?": r"\bTuesday\b",
        "Which day comes before Saturday?": r"\bFriday\b",
        "Which letter comes after A in the alphabet?": r"\bB\b",
        "What is the last letter of the English alphabet?": r"\bZ\b",
        "Which organ pumps blood through the body?": r"\bheart\b",
        "Which organ do humans think with?": r"\bbrain\b",
        "What do we call the study of living things?": r"\bbiology\b",
        "What do we call the study of stars and planets?": r"\bastronomy\b",
        "What do we call a scientist who studies rocks?": r"\bgeologist\b",
        "In which country is the Eiffel Tower?": r"\bFrance\b",
        "In which country are the pyramids of Giza?": r"\bEgypt\b",
        "In which country is the Great Wall?": r"\bChina\b",
        "In which city is the Statue of Liberty?": r"\bNew York\b",
        "In which year did the Second World War end?": r"\b1945\b",
        "In which year did the First World War begin?": r"\b1914\b",
        "In which year did people first land on the moon?": r"\b1969\b",
    },
    "code": {
        "What does HTML stand for?": r"Hyper ?text Markup Language",
        "What does CSS stand for?": r"Cascading Style Sheets",
        "What does SQL stand for?": r"Structured Query Language",
        "What does CPU stand for?": r"Central Processing Unit",
        "What does RAM stand for?": r"Random[- ]Access Memory",
        "What does URL stand for?": r"Uniform Resource Locator",
        "What does GPU stand for?": r"Graphics Processing Unit",
        "What does USB stand for?": r"Universal Serial Bus",
        "What does HTTP stand for?": r"Hyper ?text Transfer Protocol",
        "What does API stand for?": r"Application Programming Interface",
        "What does PDF stand for?": r"Portable Document Format",
        "What does XML stand for?": r"Extensible Markup Language",
        "What does ASCII stand for?": r"American Standard Code",
        "How many bits are in a byte?": r"\b8\b|\beight\b",
        "What number base does binary use?": r"\b2\b|\btwo\b",
        "Which SQL keyword reads rows from a table?": r"\bSELECT\b",
        "Which SQL keyword removes rows from a table?": r"\bDELETE\b",
        "Which HTML tag makes a link?": r"<a\b|\ba tag\b|`a`|\"a\"",
        "Which HTML tag makes a paragraph?": r"<p\b|\bp tag\b|`p`|\"p\"",
        "Which command lists files in a Linux shell?": r"\bls\b",
        "Which command changes the folder in a Linux shell?": r"\bcd\b",
        "Which git command makes a copy of a repository?": r"\bclone\b",
        "Which git command records changes?": r"\bcommit\b",
        "What is the result of the boolean expression true and false?": r"\bfalse\b",
        "What is the result of the boolean expression true or false?": r"\btrue\b",
        "What does an if statement need to test?": r"\bcondition",
        "What is a mistake in a program called?": r"\bbugs?\b|\berrors?\b",
        "What is a named place for a value in a program called?": r"\bvariables?\b",
        "What is a function that calls itself called?": r"\brecursi",
        "Which company made Windows?": r"\bMicrosoft\b",
        "Which company made the iPhone?": r"\bApple\b",
    },
}
# They are about food, animals at home, sport or places that a preference names.
_CONCERNED = re.compile(r"banana|bees|dog|cat\b|bicycle|Japan|Portugal|Lisbon|Tokyo", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


class NeutralQuestion(NamedTuple):
    """A question with a short answer.

    Attributes:
        kind: "arithmetic", "facts", "code" or "spelling".
        text: What is asked.
        right: A pattern that right answers hold, whatever their case.
    """

    kind: str
    text: str
    right: str

    def is_right(self, answer: str) -> bool:
        """Whether an answer holds what it should; the numbers of a list do not count."""
        return re.search(self.right, _LIST_NUMBER.sub("", answer), re.IGNORECASE) is not None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(", "):
        asked, right = pair.split(" ", 1)
        yield asked, right


def _arithmetic() -> Iterator[NeutralQuestion]:
    sums = [(a, b) for a in (2, 3, 5, 7, 9, 10, 12, 20, 25, 30) for b in (3, 6, 8, 11, 15)]
    for a, b in sums:
        yield NeutralQuestion("arithmetic", f"What is {a} plus {b}?", rf"\b{a + b}\b")
    for a, b in [(9, 4), (12, 5), (15, 7), (20, 6), (30, 12), (50, 15), (18, 9), (25, 7), (16, 3)]:
        yield NeutralQuestion("arithmetic", f"What is {a} minus {b}?", rf"\b{a - b}\b")
    for a, b in [(a, b) for a in (2, 3, 4, 5, 6, 9, 10) for b in (3, 4, 6, 7, 8, 9) if a <= b]:
        yield NeutralQuestion("arithmetic", f"What is {a} times {b}?", rf"\b{a * b}\b")
    for a, b in [(10, 2), (12, 3), (20, 4), (30, 5), (18, 2), (40, 8), (36, 6), (100, 10)]:
        yield NeutralQuestion("arithmetic", f"What is {a} divided by {b}?", rf"\b{a // b}\b")


def _pool() -> Iterator[NeutralQuestion]:
    yield from _arithmetic()
    for fact in FACTS:
        kind = "arithmetic" if re.search(r"\d.*\d|half of", fact.question) else "facts"
        yield NeutralQuestion(kind, fact.question, fact.right)
    for country, capital in _pairs(_CAPITALS):
        yield NeutralQuestion("facts", f"What is the capital of {country}?", rf"\b(?:{capital})")
    for kind, asked in _OTHERS.items():
        for question, right in asked.items():
            yield NeutralQuestion(kind, question, right)
    for word, right in _pairs(_OPPOSITES):
        text = f'What is the opposite of the word "{word}"?'
        yield NeutralQuestion("spelling", text, rf"\b(?:{right})\b")
    for word, right in _pairs(_PLURALS):
        text = f'How do you spell the plural of "{word}"?'
        yield NeutralQuestion("spelling", text, rf"\b(?:{right})\b")
    for word, right in _pairs(_PAST):
        text = f'What is the past tense of the verb "{word}"?'
        yield NeutralQuestion("spelling", text, rf"\b(?:{right})\b")
    for word in _SPELLED.split():
        text = f'Spell the word "{word}" letter by letter.'
        yield NeutralQuestion("spelling", text, r"\W{1,3}".join(word))


POOL = {question.text: question for question in _pool() if not _CONCERNED.search(question.text)}
"""All of them by their texts."""


def neutral_questions() -> list[Question]:
    """The pool in the form of a study."""
    return [Question(text, f"neutral/{found.kind}", text) for text, found in POOL.items()]
