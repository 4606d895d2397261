"""The distributions: what is in them, what they say of themselves, and how they are imported."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import amulet_integrations
from tests.support.toolchain import installed_wheels
from tests.support.toolchain.distributions import FOLDERS, ROOT, Distribution, faults, find, version

THIN = [name for name, (folder, _) in FOLDERS.items() if folder != ROOT]
WHO_IMPORTS = """
import langchain_amulet, llama_index.llms.amulet as amulet_llm
from langchain_amulet import ChatAmulet
from llama_index.llms.amulet import AmuletLLM
from llama_index.llms.openai_like import OpenAILike
import amulet_integrations.langchain, amulet_integrations.llama_index, sys

assert ChatAmulet is amulet_integrations.langchain.ChatAmulet
assert AmuletLLM is amulet_integrations.llama_index.AmuletLLM
print(sorted(dir(langchain_amulet)) == sorted(dir(amulet_integrations.langchain)))
print(sorted(dir(amulet_llm)) == sorted(dir(amulet_integrations.llama_index)))
print("torch" in sys.modules)
print(langchain_amulet.__file__)
try:
    from langchain_amulet import ChatAmulets
except ImportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all wheels and sdists, built as `make dist` does, but not from sdists."""
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("dist")
    for root, _ in FOLDERS.values():
        for builder in (WheelBuilder, SdistBuilder):
            list(builder(str(root)).build(directory=str(folder), versions=["standard"]))
    return folder


def test_each_distribution_holds_what_it_should(built):
    found = find(built)
    assert len(found) == 6
    assert {each.path.name: list(faults(each)) for each in found} == {
        each.path.name: [] for each in found
    }


def test_pages_and_types_are_in_the_wheel(built):
    (wheel,) = built.glob("amulet_integrations-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        *("py.typed", "__init__.pyi", "explanation/look.css", "explanation/explanation.html.j2"),
        *("serving/page/index.html.j2", "serving/page/script/start.js"),
    ):
        assert f"amulet_integrations/{name}" in names
    assert not [name for name in names if name.startswith(("tests", "docs", "packages"))]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("tests/test_a.py", b"", "tests/test_a.py does not belong here"),
        ("amulet_integrations/errors.py", b"", "amulet_integrations/errors.py differs"),
        ("amulet_integrations/a.py", b"PATH = '/home/ann/project/a'", "names a place on a machine"),
        ("amulet_integrations/__pycache__/a.pyc", b"", "is no source"),
    ],
)
def test_what_does_not_belong_there_is_found(built, tmp_path, name, data, told):
    (wheel,) = built.glob("amulet_integrations-*.whl")
    spoilt = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as good, zipfile.ZipFile(spoilt, "w") as bad:
        for each in good.namelist():
            if each != name:
                bad.writestr(each, good.read(each))
        bad.writestr(name, data)
    assert any(told in fault for fault in faults(Distribution(spoilt, "amulet-integrations")))


def test_a_wheel_that_lacks_something_is_found(built, tmp_path):
    (wheel,) = built.glob("langchain_amulet-*.whl")
    spoilt = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as good, zipfile.ZipFile(spoilt, "w") as bad:
        for each in good.namelist():
            if not each.endswith(("py.typed", "LICENSE")):
                bad.writestr(each, good.read(each))
    found = " ".join(faults(Distribution(spoilt, "langchain-amulet")))
    assert "the licence is missing" in found
    assert "type checkers read no types" in found


@pytest.mark.parametrize("name", THIN)
def test_the_same_sources_give_the_same_bytes(built, tmp_path, monkeypatch, name):
    from hatchling.builders.wheel import WheelBuilder

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    copy = shutil.copytree(FOLDERS[name][0], tmp_path / "later")
    for file in copy.rglob("*"):
        os.utime(file, (2_000_000_000, 2_000_000_000))
    sums = set()
    for root in (FOLDERS[name][0], copy):
        folder = tmp_path / f"from-{root.name}"
        (made,) = WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])
        sums.add(hashlib.sha256(Path(made).read_bytes()).hexdigest())
    assert len(sums) == 1


def test_the_names_of_both_frameworks_lead_here(built, tmp_path):
    for wheel in built.glob("l*.whl"):
        zipfile.ZipFile(wheel).extractall(tmp_path)
    # llama_index belongs to many distributions, so that none has its __init__.py.
    assert not (tmp_path / "llama_index/__init__.py").exists()
    assert not (tmp_path / "llama_index/llms/__init__.py").exists()
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-c", WHO_IMPORTS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    same, also_same, torch, place, error = ran.stdout.splitlines()
    assert (same, also_same, torch) == ("True", "True", "False")
    assert Path(place).is_relative_to(tmp_path)
    assert "ChatAmulets" in error


@pytest.mark.parametrize("name", THIN)
def test_type_checkers_see_the_same_names(name):
    folder, package = FOLDERS[name]
    seen, ours = set(), None
    for node in ast.parse((folder / package / "__init__.pyi").read_text()).body:
        assert isinstance(node, ast.ImportFrom)
        ours = node.module
        seen |= {alias.asname for alias in node.names if alias.asname == alias.name}
    assert ours is not None
    stub = ROOT / ours.replace(".", "/") / "__init__.pyi"
    assert seen == {
        alias.asname
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_all_versions_are_one():
    assert amulet_integrations.__version__ == version()
    for folder, _ in FOLDERS.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["version"] == version()


def test_llamahub_is_told_where_the_class_is():
    folder, package = FOLDERS["llama-index-llms-amulet"]
    told = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["llamahub"]
    assert told["import_path"] == package.replace("/", ".")
    assert list(told["class_authors"]) == ["AmuletLLM"]


def test_each_extra_is_for_users_or_for_maintainers():
    tried = set(installed_wheels.extras()) - {""}
    known = installed_wheels.OF_MAINTAINERS | installed_wheels.LEFT_OUT.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tried | known == project["optional-dependencies"].keys()
    assert set(installed_wheels.EXAMPLES) - {""} <= tried


@pytest.mark.parametrize(
    "name", [*(f"[{extra}]" for extra in installed_wheels.EXAMPLES), *installed_wheels.THIN]
)
def test_the_examples_of_the_wheels_are_code(name):
    examples = {f"[{extra}]": each for extra, each in installed_wheels.EXAMPLES.items()}
    example = {**examples, **installed_wheels.THIN}[name]
    ast.parse(example.program)
    assert example.program.strip() or example.commands
