"""The code in the documentation runs, page by page, from the first block to the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_docs import CODE, PAGES

pytestmark = pytest.mark.model

# Each takes half a minute and more; other tests do on the model what they show.
LONG = {"engine", "learning", "llama_index", "llama_index_agents", "tools"}
WITH_CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, id=page.stem, marks=[pytest.mark.acceptance] if page.stem in LONG else []
        )
        for page in WITH_CODE
    ],
)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for block in CODE.finditer(page.read_text(encoding="utf-8")):
        if block["language"] == "python":
            # Without this module's own __future__: readers paste the code as it stands.
            code = compile(block["code"], str(page), "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 - our own pages
