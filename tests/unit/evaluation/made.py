"""Answers, outcomes and preferences made up for tests, the same every time."""

from __future__ import annotations

import random

from amulet_integrations.evaluation.analysis.frontier import find_frontier
from amulet_integrations.evaluation.data.methods import read_methods
from amulet_integrations.evaluation.data.record_types import Answer, Method, Outcome, Preference
from amulet_integrations.evaluation.data.set_ups import SET_UPS
from amulet_integrations.evaluation.metrics.text_scores import text_scores
from amulet_integrations.evaluation.runs.evaluation_result import Evaluation
from amulet_integrations.evaluation.runs.run_settings import DataSetFacts, Settings

METHODS = ("base", "pref", "beam_search", "linear_alignment", "amulet")
STRENGTHS = {1: 1.95, 2: 2.46, 5: 3.2, 10: 3.9, 30: 4.95, 60: 5.65, 200: 6.9}
WORDS = [
    "sea",
    "light",
    "blue",
    "morning",
    "because",
    "water",
    "scatters",
    "short",
    "waves",
    "more",
    "than",
    "long",
    "ones",
    "and",
    "so",
    "we",
    "see",
    "a",
    "colour",
    "that",
    "is",
    "calm",
    "bright",
    "deep",
    "or",
    "strange",
    "while",
    "people",
    "walk",
    "along",
    "the",
    "shore",
    "to",
    "look",
    "for",
    "shells",
    "stones",
    "and",
    "stories",
    "which",
    "they",
    "carry",
    "home",
    "in",
    "small",
    "bags",
    "of",
    "paper",
]


def answer(method="base", *, index=0, preference="creative", data_set="sea", text="It is.", **more):
    fields = {
        "data_set": data_set,
        "index": index,
        "question": f"Question {index} of {data_set}?",
        "preference": preference,
        "method": method,
        "text": text,
        "token_ids": (1, 2),
        "finish_reason": "stop",
    }
    return Answer(**{**fields, **more})


def measured(method, index, ratio, nll, **more):
    """An answer of this ratio and cost; what is no field of an answer is one more score."""
    scores = {"preference_ratio": ratio, "pref_nll": nll, "broken": float(nll > 1.6)}
    scores |= {name: more.pop(name) for name in [*more] if name not in Answer.model_fields}
    return answer(method, index=index, scores=scores, **more)


def preference(name="creative"):
    return Preference(name=name, text=f"Your answer should be {name}.")


def preferences(*names):
    return {name: preference(name) for name in names or ("creative",)}


def run(
    *,
    data_sets=("sea", "sky"),
    preferences=("creative", "concise"),
    methods=METHODS,
    questions=8,
    strengths=(1, 2, 5, 10, 30, 60, 200),
    reward=True,
):
    """The answers of a whole run, in which more guidance means more ratio and less fluency."""
    drawn = random.Random(0)
    guidance = {"base": 0.0, "pref": 1.0, "beam_search": 1.1, "linear_alignment": 3.0}
    guidance |= {"amulet": 2.0} | {f"amulet@{n}": STRENGTHS[n] for n in strengths}
    made = []
    for data_set in data_sets:
        for index in range(questions):
            for name in preferences:
                for method in (*methods, *(f"amulet@{n}" for n in strengths)):
                    g = guidance[method]
                    words = drawn.choices(WORDS, k=drawn.randint(20, 60))
                    text = " ".join(words).capitalize() + "."
                    scores = {
                        "preference_ratio": 0.05 * g + drawn.gauss(0, 0.03),
                        "fluency_nll": 0.75 + 0.03 * g**2 + drawn.gauss(0, 0.05),
                        "pref_nll": 0.75 + 0.03 * (g - 1) ** 2 + drawn.gauss(0, 0.05),
                        "broken": 0.0,
                        **text_scores(text),
                    }
                    if reward:
                        scores["reward"] = 0.33 + 0.04 * g + drawn.gauss(0, 0.05)
                    one = answer(
                        method,
                        index=index,
                        preference=name,
                        data_set=data_set,
                        text=text,
                        scores=scores,
                        finish_reason=drawn.choice(["stop", "length"]),
                    )
                    made.append(one)
    return made


def named(*names):
    """Methods by their names; whatever is no name of one is a base method of that name."""
    return tuple(
        read_methods([name])[0]
        if name.partition("@")[0] in METHODS
        else Method(name=name, kind="base")
        for name in names
    )


def evaluation(answers, outcomes=(), *, methods=None, scorers=(), judges=(), **settings):
    """What a run of these answers came to."""
    names = dict.fromkeys(answer.method for answer in answers)
    fields = {
        "model": "some/model",
        "set_up": SET_UPS["default"],
        "max_new_tokens": 128,
        "seed": 3,
        "data_sets": tuple(
            DataSetFacts(name=name, questions=1, sha256="0")
            for name in dict.fromkeys(answer.data_set for answer in answers)
        ),
        "preferences": tuple(
            preference(name) for name in dict.fromkeys(answer.preference for answer in answers)
        ),
        "methods": named(*names) if methods is None else methods,
        "versions": {"torch": "2.13"},
    }
    return Evaluation(
        settings=Settings(**{**fields, **settings}),
        answers=tuple(answers),
        outcomes=tuple(outcomes),
        scorers=scorers,
        judges=judges,
    )


def outcomes(
    methods=("base", "pref", "beam_search", "linear_alignment"), pairs=20, judge="a judge", seed=1
):
    drawn = random.Random(seed)
    return [
        Outcome(
            data_set="sea",
            index=index,
            preference=name,
            method="amulet",
            against=against,
            result=(result := drawn.choice(["win", "win", "tie", "lose", None])),
            unparsable=0 if result else 1,
            judge=judge,
        )
        for against in methods
        for name in ("creative", "concise")
        for index in range(pairs)
    ]


def frontier(answers, **more):
    """The frontier of these answers."""
    return find_frontier(answers, evaluation(answers).methods, **more)


def small(score="reward", preferences=("creative", "concise")):
    """Two data sets of unequal size, two methods, whose means are easily worked out."""
    values = {("sea", "base"): [1, 3], ("sea", "amulet"): [4, 6]}
    values |= {("sky", "base"): [10], ("sky", "amulet"): [1]}
    return [
        answer(
            method, index=index, preference=name, data_set=data_set, scores={score: value + extra}
        )
        for extra, name in enumerate(preferences)
        for (data_set, method), held in values.items()
        for index, value in enumerate(held)
    ]
