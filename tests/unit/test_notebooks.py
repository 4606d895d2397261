"""The notebooks of the cookbook as they are kept, and the tool that runs and compares them."""

from __future__ import annotations

import asyncio
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.support.toolchain import notebooks
from tests.support.toolchain.notebooks import COOKBOOK, ROOT, differences, form_faults

KEPT = sorted(COOKBOOK.glob("*.ipynb"))
FIRST = new_markdown_cell("# A title\n\n**You will see** it.")
LAST = new_markdown_cell("## What to try next\n\nMore.")

by_name = pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)


@by_name
def test_a_notebook_is_kept_as_its_reader_should_find_it(path):
    notebook = notebooks.read(path)
    assert form_faults(notebook) == []
    assert differences(notebook, notebook) == []
    cells = notebooks.code_cells(notebook)
    assert all(cell.source.strip() for cell in cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(notebooks.shown(cell) for cell in cells)


def anchor(title):
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


@by_name
def test_links_lead_to_files_and_to_headings(path):
    texts = [it.source for it in notebooks.read(path).cells if it.cell_type == "markdown"]
    targets = re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts))
    assert targets
    for target in targets:
        file, _, heading = target.partition("#")
        assert (COOKBOOK / file).exists(), target
        if heading:
            page = (COOKBOOK / file).read_text(encoding="utf-8")
            titles = re.findall(r"(?m)^#+ (.*)$", page)
            assert heading in map(anchor, titles)


def test_the_page_lists_every_notebook_once():
    page = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(\.\./cookbook/(.*?)\)", page) == [path.name for path in KEPT]
    assert len(KEPT) == 7


def cell(source="print(1)", *outputs, **metadata):
    return new_code_cell(source, id="here", outputs=list(outputs), metadata=metadata)


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def book(*cells):
    return new_notebook(cells=[FIRST, *cells, LAST])


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (printed("in /home/zoe/work"), "cell 'here': its output holds /home/zoe, a path of one"),
        (printed(r"in C:\Users\zoe"), "a path of one machine"),
        (printed("careful!", "stderr"), "cell 'here': it warns: careful!"),
        (printed("Loading: 40%|####      | 2/5"), "a progress bar"),
        (printed("long" * 6_000), "its output has 24,0"),
        (new_output("error", ename="ValueError", evalue="no"), "it fails: ValueError: no"),
        (new_output("display_data", {"text/html": "<p>/tmp/zoe/x</p>"}), "holds /tmp/zoe"),
    ],
)
def test_what_a_reader_would_stumble_over_is_found(output, fault):
    assert form_faults(book(cell("print(1)", printed("1\n")))) == []
    (found,) = form_faults(book(cell("print(1)", output)))
    assert fault in found


def test_a_notebook_says_first_what_it_shows_and_last_what_to_try():
    assert form_faults(new_notebook(cells=[cell(), LAST])) == [
        "it does not begin with a title, and then **You will see** …"
    ]
    assert form_faults(new_notebook(cells=[FIRST, cell()])) == [
        "it does not end with the section What to try next"
    ]
    (large,) = form_faults(book(new_markdown_cell("word " * 30_000)))
    assert "100,000 characters" in large


def test_outputs_are_compared_unless_a_model_wrote_them():
    def found(kept, now, **metadata):
        return differences(
            book(cell("f()", *kept, **metadata)), book(cell("f()", *now, **metadata))
        )

    sunny, rainy = [printed("in Paris: sun\n")], [printed("in Paris: rain\n")]
    varies = {"tags": ["varies"]}
    assert found(sunny, sunny) == []
    (told,) = found(sunny, rainy)
    assert "in Paris: rain" in told
    assert "in Paris: sun" in told
    assert found(sunny, rainy, **varies) == []
    assert found(sunny, rainy, **varies, says=["Paris"]) == []
    assert "what it shows lacks 'sun'" in found(sunny, rainy, **varies, says=["sun"])[0]
    assert "what is kept lacks 'snow'" in found(sunny, rainy, **varies, says=["snow"])[0]
    assert "and kept 'in Paris: sun" in found(sunny, [], **varies)[0]
    picture = [new_output("display_data", {"image/png": "aGk=", "text/plain": "a picture"})]
    assert found(picture, [printed("a picture")])


ASKS = """
import urllib.request
from pathlib import Path

Path("left.txt").write_text("x")
try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=1)
except OSError as error:
    print(error)
"""


def test_a_run_has_no_network_and_says_what_it_leaves_and_where_it_fails(tmp_path):
    path = tmp_path / "cookbook" / "1_asks.ipynb"
    path.parent.mkdir()
    (path.parent / "beside.py").write_text("answer = 42\n")
    sources = (ASKS, "import beside; beside.answer", "1 / 0")
    made = book(*(new_code_cell(source, id=f"cell-{at}") for at, source in enumerate(sources)))
    notebooks.nbformat.write(made, path)
    run = asyncio.run(notebooks.run_all([path]))[path]
    asked, imported, failed = notebooks.code_cells(run.notebook)
    assert "is to need no network, and asks for '192.0.2.1'" in notebooks.shown(asked)
    assert notebooks.shown(imported) == "42"
    assert failed.outputs[0].ename == "ZeroDivisionError"
    assert run.faults == [
        "cell 'cell-2': it fails: ZeroDivisionError: division by zero",
        "it leaves left.txt",
    ]
    assert not run.ended
    assert notebooks.code_cells(notebooks.read(path))[0].outputs == []
