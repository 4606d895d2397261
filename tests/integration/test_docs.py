"""The code in the documentation runs, page by page, and prints what the page says it prints."""

from __future__ import annotations

import ast
import io
import logging
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.test_docs import CODE, PAGES, ROOT

pytestmark = pytest.mark.model

COOKBOOK = ROOT / "cookbook"
LOGGER = logging.getLogger("amulet_integrations")  # whose level pages set

# Each takes half a minute and more; other tests do on the model what they show.
LONG = {"engine_requests", "learning", "llama_index", "llama_index_agents", "retrieval", "tools"}
# What one asks a server for is sent to one in tests/unit/serving; the others need other engines.
ELSEWHERE = {"server", "vllm", "llama_cpp"}
WITH_CODE = [
    page
    for page in PAGES
    if "```python" in page.read_text(encoding="utf-8") and page.stem not in ELSEWHERE
]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, id=page.stem, marks=[pytest.mark.acceptance] if page.stem in LONG else []
        )
        for page in WITH_CODE
    ],
)
def test_code_runs_and_prints_what_is_promised(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(COOKBOOK)  # beside which its pages are to be tried
    names: dict[str, object] = {"__name__": page.stem}
    blocks = [*CODE.finditer(page.read_text(encoding="utf-8")), None]
    broken: list[str] = []
    request.addfinalizer(partial(LOGGER.setLevel, LOGGER.level))
    for block, following in pairwise(blocks):
        assert block is not None
        if block["language"] != "python":
            continue
        names["print"] = checking_print(block["code"].splitlines(), broken)
        # Without this module's own __future__: readers paste the code as it stands.
        code = compile(block["code"], str(page), "exec", dont_inherit=True)
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, names)  # noqa: S102 - our own pages
        # What a model says differs between processors; what an error says does not.
        says_error = "print(error)" in block["code"]
        if says_error and following is not None and following["language"] == "text":
            assert printed.getvalue() == following["code"]
    assert not broken


def checking_print(lines: list[str], broken: list[str]) -> Callable[..., None]:
    """A `print` that compares what it prints with the comment behind it in these lines."""

    def checked(*values: object, end: str = "\n", **_: object) -> None:
        text = " ".join(map(str, values))
        sys.stdout.write(text + end)
        line = lines[sys._getframe(1).f_lineno - 1]
        promise = promised(line.partition("  # ")[2])
        if promise and not re.fullmatch(promise, text, re.DOTALL):
            broken.append(f"{line.strip()} printed {text}")

    return checked


def promised(comment: str) -> str | None:
    """The pattern that a comment promises: a value, a word, or words with … for the rest."""
    if "…" in comment:
        return ".*".join(map(re.escape, comment.split("…")))
    for value in (comment, comment.split(": ", maxsplit=1)[0], comment.split(", ", maxsplit=1)[0]):
        try:
            ast.literal_eval(value)
        except (SyntaxError, ValueError):
            if not re.fullmatch(r"\w+", value):
                continue
        return re.escape(value)
    return None


@pytest.mark.parametrize(
    ("comment", "text", "kept"),
    [
        ("1, and one more with each save", "1", True),
        ("1, and one more with each save", "4", False),
        ("(-1.0, 2.0): half as strong", "(-1.0, 2.0)", True),
        ("['ann']", "['ben']", False),
        ("gentle", "strong", False),
        ("… by now. …", "5 is stored by now. Read", True),
        ("5.6487…", "5.6496", False),
    ],
)
def test_promises_are_read(comment: str, text: str, kept: bool) -> None:
    pattern = promised(comment)
    assert pattern
    assert bool(re.fullmatch(pattern, text)) == kept
    assert promised("the second one from memory") is None
