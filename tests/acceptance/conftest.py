"""Long checks resume: a test that passed at this commit is skipped until the code changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

KEY = "acceptance/passed"
FAILED = pytest.StashKey[bool]()


def state_of_the_code(root: str) -> str:
    """The commit and what was changed or added since; empty where git cannot tell."""
    parts = (
        ["git", "rev-parse", "HEAD"],
        ["git", "diff", "HEAD"],
        ["git", "ls-files", "-o", "--exclude-standard"],
    )
    ran = [subprocess.run(part, cwd=root, capture_output=True, check=False) for part in parts]
    if ran[0].returncode != 0:
        return ""
    new = [Path(root, name.decode()) for name in ran[-1].stdout.splitlines()]
    contents = [path.read_bytes() for path in new if path.is_file()]
    return sha256(b"".join([*(part.stdout for part in ran), *contents])).hexdigest()


@pytest.fixture(autouse=True)
def not_twice(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skips a test that passed already, and remembers one that passes now."""
    cache = request.config.cache
    state = state_of_the_code(str(request.config.rootpath))
    known = cache.get(KEY, {})
    passed = known.get("tests", []) if state and known.get("state") == state else []
    if request.node.nodeid in passed:
        pytest.skip("passed at this commit already")
    yield
    if not request.node.stash.get(FAILED, False):
        cache.set(KEY, {"state": state, "tests": [*passed, request.node.nodeid]})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Tells the fixture above how the test itself went, before it is torn down."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report
