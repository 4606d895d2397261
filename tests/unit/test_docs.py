"""The documentation: links lead somewhere, and code is code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from amulet_integrations import errors
from amulet_integrations.decoding.strength import PRESETS
from tests.support.families import FAMILIES, memory_report
from tests.support.families.instruct_models import INSTRUCT_MODELS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "README.md", GUIDE, *sorted((ROOT / "docs").glob("*.md"))]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(
    r"^(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@by_name
def test_relative_links_lead_to_files(page):
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(prose) if not re.match(r"\w+:|#", target)]
    missing = [name for name in targets if not (page.parent / name.partition("#")[0]).exists()]
    assert not missing


@by_name
def test_python_blocks_compile(page):
    for block in CODE.finditer(page.read_text(encoding="utf-8")):
        if block["language"] == "python":
            ast.parse(block["code"], filename=str(page))


@by_name
def test_every_fence_is_closed(page):
    assert len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) % 2 == 0


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    contents = index.partition("{toctree}")[2]
    pages = {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"}
    assert sorted(pages) == sorted(re.findall(r"^\w+$", contents, re.MULTILINE))


def test_the_table_of_presets_is_what_holds():
    page = (ROOT / "docs" / "choose_a_strength.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| `"(\w+)"` \| (\S+) \| (\S+) \|$', page, re.MULTILINE)
    told = [
        (
            name,
            f"{preset.guidance_scale:.4g}",
            "None" if preset.max_kl is None else f"{preset.max_kl:g}",
        )
        for name, preset in PRESETS.items()
    ]
    assert rows == told


@pytest.mark.parametrize("refused", [False, True])
def test_the_tables_of_models_hold_every_family(refused):
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.split("## Families that are refused")[refused]
    names = [
        code + variant for code, variant in re.findall(r"^\| `(.+?)`(.*?) \|", table, re.MULTILINE)
    ]
    assert names == sorted(name for name in FAMILIES if FAMILIES[name].refused is refused)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.acceptance), 3])
def test_the_table_of_memory_is_what_is_computed(step):
    """Of every third model, because a large one takes half a second."""
    page = memory_report.PAGE.read_text(encoding="utf-8")
    models = INSTRUCT_MODELS[::step]
    found = [memory_report.estimates(model) for model in models]
    rows = memory_report.table(list(zip(models, found, strict=True))).splitlines()
    told = memory_report.TABLE.search(page)[0].splitlines()
    head = 3
    assert told[:head] == rows[:head]
    assert told[head::step] == rows[head:]
    assert len(told) == head + len(INSTRUCT_MODELS)
    assert [each[0].parameters for each in found] == [model.parameters for model in models]


def test_the_page_on_errors_says_of_each_what_it_means_and_what_to_do():
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.*) \|$", page, re.MULTILINE)
    public = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AmuletError | errors.AmuletWarning)
    }
    roots = {"AmuletError", "AmuletWarning"}
    assert sorted(name for name, _, _ in rows) == sorted(public - roots)
    assert all(f"`{name}`" in page for name in roots)


def test_the_readme_is_short_and_its_memory_is_that_of_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    page = memory_report.PAGE.read_text(encoding="utf-8")
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    known = {row[0]: row[3:6] for row in cells if len(row) > 6}  # for one user
    rows = re.findall(r"^\| (`[\w./-]+/[\w./-]+`)[^|]* \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) >= 5
    assert {name: sizes.split(" | ") for name, sizes in rows} == {
        name: known[name] for name, _ in rows
    }


def test_the_guide_for_contributors_names_files_that_exist():
    named = re.findall(r"`([a-z_]+/[a-z_./]*)`", CODE.sub("", GUIDE.read_text(encoding="utf-8")))
    roots = (ROOT, ROOT / "amulet_integrations", ROOT / "amulet_integrations/engine/backends")
    assert len(named) > 15
    assert not [name for name in named if not any((root / name).exists() for root in roots)]


@pytest.mark.parametrize("page", ["security", "reliability"])
def test_promises_name_tests_that_exist(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 5
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file()
        or (
            name
            and not re.search(rf"^ *(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
        )
    ]
    assert not missing


def test_no_page_needs_or_spoils_the_files_of_another():
    """A reader may begin anywhere, and go on in the same folder."""
    used: dict[str, set[str]] = {}
    for page in PAGES:
        for block in CODE.finditer(page.read_text(encoding="utf-8")):
            if block["language"] == "python":
                code = re.sub(r"#.*", "", block["code"])
                for name in re.findall(r'"([\w./-]+\.(?:db|csv|jsonl?))"', code):
                    used.setdefault(name, set()).add(page.name)
    assert used
    assert not {name: pages for name, pages in used.items() if len(pages) > 1}


def test_pages_hold_code_and_links():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(CODE.findall(text)) > 10
    assert len(LINK.findall(text)) > 10
