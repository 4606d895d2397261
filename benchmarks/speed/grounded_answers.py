"""Answers that quote a document, drafted from the prompt; and stories, which cannot be."""

from __future__ import annotations

import statistics

from amulet_integrations import AmuletParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.prompting import PromptBuilder
from benchmarks.speed.grounded_questions import FREE, PREFERENCE, QUOTING, STRENGTH
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import pair
from benchmarks.support.timed_answers import NO_REUSE, TimedAnswer, guided_request, run_request
from benchmarks.support.timing import FULL, Effort, Figure, Figures

TOKENS = 96
ROUNDS = 2
"""Of all questions: eight that quote and three that do not."""
WINDOW = 8
MILD = AmuletParams.from_guidance_scale(STRENGTH)
DRAFTED, SINGLE = "drafted", "one by one"
KINDS = ("quoting", "free text")
PLOTS = [
    Bars(
        "Tokens drafted from the prompt",
        "tokens/s",
        {
            f"{kind}, {how}": f"{kind}, {how} tokens/s"
            for kind in KINDS
            for how in (DRAFTED, SINGLE)
        },
    )
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of whole answers, reading the prompt included, and of their decoding."""
    tokens = effort.tokens(TOKENS)
    drafting = {key: of for key, of in NO_REUSE.items() if key != "prompt_lookup_num_tokens"}
    with (
        LocalEngine.from_pretrained(dtype=dtype, **drafting) as with_drafts,
        LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as without,
    ):
        engines = {DRAFTED: with_drafts, SINGLE: without}
        requests = _requests(PromptBuilder(without.tokenizer), tokens, effort)
        for engine in engines.values():
            run_request(engine, requests["free text"][0])  # to warm up
        rounds = [_round(engines, requests) for _ in range(min(ROUNDS, effort.rounds))]
    figures: dict[str, Figure | float] = {}
    for kind in KINDS:
        for what, rate in (("tokens/s", _rate), ("decoding tokens/s", _decoding_rate)):
            rates = {how: [rate(of[kind, how]) for of in rounds] for how in (DRAFTED, SINGLE)}
            figures |= {f"{kind}, {how} {what}": Figure.of(of) for how, of in rates.items()}
            figures[f"{kind}, {what}, {DRAFTED} / {SINGLE}"] = Figure.ratio(
                rates[DRAFTED], rates[SINGLE]
            )
    documents = [
        without.tokenizer.encode(" " + document, add_special_tokens=False)
        for document, _ in effort.some(QUOTING)
    ]
    quoted = [
        quoted_share(one.tokens, document)
        for one, document in zip(rounds[0]["quoting", DRAFTED], documents, strict=True)
    ]
    figures["quoting, % of the answer found in the document"] = Figure.of(100 * q for q in quoted)
    figures["quoting, tokens an answer"] = statistics.mean(
        len(one.tokens) for one in rounds[0]["quoting", DRAFTED]
    )
    return figures


def quoted_share(tokens: list[int], document: list[int]) -> float:
    """The part of an answer's tokens that lie in a run of eight that the document has too."""
    known = {tuple(document[at : at + WINDOW]) for at in range(len(document) - WINDOW + 1)}
    quoted = [False] * len(tokens)
    for at in range(len(tokens) - WINDOW + 1):
        if tuple(tokens[at : at + WINDOW]) in known:
            quoted[at : at + WINDOW] = [True] * WINDOW
    return sum(quoted) / len(tokens)


Round = dict[tuple[str, str], list[TimedAnswer]]
"""The answers of one round, by kind of question and by engine."""


def _round(engines: dict[str, LocalEngine], requests: dict[str, list[GenerationRequest]]) -> Round:
    """Every question in turn, to one engine and the other."""
    answers: Round = {(kind, how): [] for kind in requests for how in engines}
    for kind, of_kind in requests.items():
        for request in of_kind:
            for how, engine in engines.items():
                answers[kind, how].append(run_request(engine, request))
    return answers


def _requests(
    prompts: PromptBuilder, tokens: int, effort: Effort
) -> dict[str, list[GenerationRequest]]:
    quoting = [asking.format(document=document) for document, asking in effort.some(QUOTING)]
    asked = {"quoting": quoting, "free text": list(effort.some(FREE))}
    return {
        kind: [
            guided_request(base, pref, tokens, params=MILD, exactly=kind == "free text")
            for base, pref in (pair(prompts, question, PREFERENCE) for question in questions)
        ]
        for kind, questions in asked.items()
    }


def _rate(answers: list[TimedAnswer]) -> float:
    return sum(len(one.tokens) for one in answers) / sum(one.seconds for one in answers)


def _decoding_rate(answers: list[TimedAnswer]) -> float:
    return sum(len(one.tokens) - 1 for one in answers) / sum(
        one.seconds - one.first for one in answers
    )
