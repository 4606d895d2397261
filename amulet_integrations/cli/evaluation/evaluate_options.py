"""Options that `amulet evaluate` and `amulet sweep` share."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from amulet_integrations.cli.options import option

QUESTIONS = "What is asked"
ANSWERS = "How it is answered"
SCORES = "How it is measured"
REPORT = "The report"

DEFAULT_ALLOWANCE = 0.1
"""That of the evaluation, whose module brings numpy."""

_question = partial(option, panel=QUESTIONS)

data_option = _question(
    "FILE",
    "Questions: .json, .jsonl or .csv, or one of the paper's data sets (truthful_qa, "
    "personal_preference_eval, ultrachat, helpsteer). Repeat for more.",
)
preference_option = _question(
    "NAME_OR_TEXT",
    "creative, verbose, concise, uplifting, sycophantic, complex, formal, pleasant; "
    "or any text, or NAME=TEXT. Repeat for more.",
)
DataField = Annotated[
    str | None,
    _question(
        "NAME",
        "The field that holds the question.",
        default="question, prompt or instruction",
    ),
]
Sample = Annotated[
    int | None, _question("N", "Draw so many questions of each data set.", default="all", min=1)
]
Dtype = Annotated[
    str,
    option(
        "TYPE",
        "What the model computes in: float32 gives the same answers again, whatever runs "
        "beside them.",
        panel="The model",
    ),
]
Relevance = Annotated[
    str | None,
    option(
        "NAME",
        "The sentence embedding that measures whether answers are about their questions: a "
        "Hugging Face id, a local folder, embedded, or none.",
        default="embedded, where it is installed",
        panel=SCORES,
    ),
]
Allowance = Annotated[
    float,
    option(
        "NATS",
        "By how many nats per token -log P(answer | preference) may rise beside pref at the "
        "recommended point.",
        min=0.0,
        panel=REPORT,
    ),
]
