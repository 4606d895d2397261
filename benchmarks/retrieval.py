"""Answers from retrieved documents: does the preference show, and do answers keep to the documents?

Run it by `python -m benchmarks.retrieval`. It prints a table of counts and, with `--answers`, every
answer. docs/retrieval.md has what it printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.vectorstores import InMemoryVectorStore

from amulet_integrations.langchain import ChatAmulet
from cookbook.minilm import MiniLM

_TEXTS = """
The lighthouse on Gull Rock was built in 1872 from grey granite that was brought by ship from the
mainland. It is 41 metres high. Its lamp turns once every ten seconds and can be seen from thirty
kilometres away. Two storms, in 1901 and in 1953, broke the glass of the lantern room, and both
times it was made anew within a week.

The last keeper of the lighthouse, Mara Lind, came to Gull Rock in 1961 as an assistant and left
in 1986, when the lamp was made automatic. She wrote a diary of the weather, the birds and the
ships for all of those years. Since 1990 the tower has been a museum, and her diary is shown on
its second floor.

The ferry to Gull Rock leaves the harbour of Westby at nine in the morning and at two in the
afternoon, from April to October. The crossing takes forty minutes. A ticket costs twelve euros
there and back, and children under six travel free. Dogs are not allowed on board. In high wind
the ferry does not sail.

Puffins nest on the northern cliffs of Gull Rock from May to July. About nine hundred pairs were
counted last year. Visitors have to keep to the marked paths, because the birds dig their burrows
in the soft ground beside them. In August the puffins leave for the open sea, and seals rest on
the beaches instead.

The café beside the museum sells soup, bread and apple cake, which is baked on the island. It
opens when the first ferry arrives and closes when the last one leaves. Water on the island is
rain that is collected in a cistern from 1880, so the café asks its guests not to waste it.

There are six beds in the old keeper's house on Gull Rock, which is a hostel today. A night costs
thirty-five euros. Guests bring their own sleeping bags, and the warden, Tom Hale, cooks fish on
Saturdays. The hostel is closed in winter, from November to March.
"""

DOCUMENTS = [" ".join(text.split()) for text in _TEXTS.split("\n\n")]

QUESTIONS = {
    "When was the lighthouse built?": "1872",
    "Who was the last keeper of the lighthouse?": "Lind",
    "How much does a ticket for the ferry cost?": "twelve|12",
    "When do puffins nest on Gull Rock?": "July",
    "What does the café sell?": "soup|cake",
    "How many beds are there in the hostel?": "six|6",
    "How long does the crossing to the island take?": "forty|40",
    "Where is the diary of the keeper shown?": "second|museum",
}
"""Each with what an answer that keeps to the documents says."""


def _is_short(text: str) -> bool:
    return len(text.split()) <= 20 and len(re.findall(r"[.!?](?:\s|$)", text)) <= 1


PREFERENCES: dict[str, Callable[[str], object]] = {
    "Answer in one short sentence.": _is_short,
    "Answer like a friendly pirate.": re.compile(
        r"(?i)\b(?:arr+|aye|ahoy|matey?s?|ye|yer|heart(?:y|ies)|pirates?)\b"
    ).search,
    "Answer with a numbered list.": re.compile(r"(?m)^\s*1[.)]").search,
}
"""Each with what tells whether an answer follows it."""

IN_THE_QUESTION = (
    "Context information is below.\n---------------------\n{documents}\n---------------------\n"
    "Given the context information and not prior knowledge, answer the query.\nQuery: {question}\n"
    "Answer: "
)
IN_THE_SYSTEM_TEXT = "Answer the question from these documents.\n\n{documents}"


def in_the_question(documents: str, question: str) -> list[BaseMessage]:
    """One message of the user, as LlamaIndex writes it; the preference stands before all of it."""
    return [HumanMessage(IN_THE_QUESTION.format(documents=documents, question=question))]


def in_the_system_text(documents: str, question: str) -> list[BaseMessage]:
    """The documents in the system text, before the preference and the question."""
    return [
        SystemMessage(IN_THE_SYSTEM_TEXT.format(documents=documents)),
        HumanMessage(question),
    ]


Prompt = Callable[[str, str], list[BaseMessage]]

PROMPTS: tuple[Prompt, ...] = (in_the_question, in_the_system_text)

STRENGTHS = {
    "the preference in the prompt": {"method": "pref"},
    '`preset="default"`': {"preset": "default"},
    '`preset="strong"`': {"preset": "strong"},
}


class Answer(NamedTuple):
    """One answer, with what it was asked for."""

    question: str
    preference: str | None
    prompt: str
    strength: str
    text: str
    mean_guidance_scale: float | None

    @property
    def is_grounded(self) -> bool:
        """Whether it says what the documents say."""
        return re.search(rf"(?i)\b(?:{QUESTIONS[self.question]})\b", self.text) is not None

    @property
    def shows_preference(self) -> bool:
        """Whether it has the form that the preference asks for."""
        return self.preference is not None and bool(PREFERENCES[self.preference](self.text))


def retrieve(question: str, index: InMemoryVectorStore, top_k: int) -> str:
    """The documents that are nearest to a question."""
    found = index.similarity_search(question, k=top_k)
    return "\n\n".join(document.page_content for document in found)


def answers(llm: ChatAmulet, top_k: int) -> list[Answer]:
    """Every question under every preference, prompt and strength; and without a preference."""
    index = InMemoryVectorStore.from_texts(list(DOCUMENTS), MiniLM())
    asked = [
        *itertools.product(QUESTIONS, PREFERENCES, PROMPTS, STRENGTHS),
        *itertools.product(QUESTIONS, [None], PROMPTS, ["no preference"]),
    ]
    found = {question: retrieve(question, index, top_k) for question in QUESTIONS}

    def ask(question: str, preference: str | None, write: Prompt, strength: str) -> Answer:
        more = STRENGTHS.get(strength, {})
        message = llm.invoke(write(found[question], question), preference=preference, **more)
        used = message.response_metadata["amulet"]
        return Answer(
            question,
            preference,
            write.__name__,
            strength,
            message.text,
            used.get("mean_guidance_scale"),
        )

    with ThreadPoolExecutor(len(asked)) as pool:  # decoded together
        return list(pool.map(lambda it: ask(*it), asked))


def table(given: Sequence[Answer]) -> str:
    """Counts of the answers that follow the preference and keep to the documents."""
    heads = ["documents", "strength", *PREFERENCES, "grounded", "both", "mean scale"]
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * (len(heads) - 2)}"]
    for prompt, strength in itertools.product(PROMPTS, ["no preference", *STRENGTHS]):
        group = [it for it in given if (it.prompt, it.strength) == (prompt.__name__, strength)]
        scales = [it.mean_guidance_scale for it in group if it.mean_guidance_scale is not None]
        told = [it for it in group if it.preference]
        cells = [
            prompt.__name__.replace("_", " "),
            strength,
            *(
                _count(it.shows_preference for it in told if it.preference == p)
                for p in PREFERENCES
            ),
            _count(it.is_grounded for it in group),
            _count(it.shows_preference and it.is_grounded for it in told),
            f"{sum(scales) / len(scales):.2f}" if scales else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _count(found: Iterable[bool]) -> str:
    all_of = list(found)
    return f"{sum(all_of)} of {len(all_of)}" if all_of else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    parser.add_argument("--model", default="embedded", help="a Hugging Face id or a local folder")
    parser.add_argument("--top-k", type=int, default=3, help="documents in a prompt")
    parser.add_argument("--max-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--answers", action="store_true", help="print every answer as well")
    options = parser.parse_args()
    llm = ChatAmulet(model=options.model, max_tokens=options.max_tokens, saved_presets=False)
    given = answers(llm, options.top_k)
    if options.answers:
        for answer in given:
            print(f"{answer._replace(text='')}\n{answer.text}\n")
    print(table(given))


if __name__ == "__main__":
    main()
