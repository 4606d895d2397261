"""What the constructor takes, and what the package needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from amulet_integrations.errors import (
    InvalidParamsError,
    ModelNotFoundError,
    PreferenceSelectionError,
    UnknownArgumentError,
)
from amulet_integrations.installation import install_command
from amulet_integrations.llama_index import AmuletLLM
from tests.unit.llama_index.support import ANN, QUESTION, engine_result, small_llm


def test_a_profile_can_be_a_dict(tiny_engine):
    profile = {"user_id": "x", "preferences": [ANN]}
    assert small_llm(tiny_engine, profile=profile).complete(QUESTION).text == (
        engine_result(tiny_engine, ANN).text
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"temprature": 1.0}, UnknownArgumentError, "did you mean 'temperature'"),
        ({"temperature": -1.0}, InvalidParamsError, "temperature=-1"),
        ({"system_prompt": 5}, InvalidParamsError, "system_prompt=5"),
        ({"method": "magic"}, InvalidParamsError, "method='magic'"),
        ({"profile": 3}, PreferenceSelectionError, "profile is a int"),
        ({"max_tokens": 5, "max_new_tokens": 6}, InvalidParamsError, "pass one"),
    ],
)
def test_bad_arguments_are_refused_by_errors_of_ours(tiny_engine, given, error, message):
    with pytest.raises(error, match=message):
        AmuletLLM(engine=tiny_engine, **given)


def test_an_unknown_model_is_refused_at_once(tmp_path):
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        AmuletLLM(model=str(tmp_path / "nowhere"))


def test_max_new_tokens_is_max_tokens(tiny_engine):
    assert AmuletLLM(engine=tiny_engine, max_new_tokens=3).metadata.num_output == 3


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_llama_index_the_extra_is_named():
    output = run(
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'llama_index':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from amulet_integrations.errors import MissingDependencyError\n"
        "try:\n"
        "    import amulet_integrations.llama_index\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    assert install_command("llama-index") in output


def test_the_package_exports_two_names():
    from amulet_integrations import llama_index

    assert llama_index.__all__ == ["AmuletLLM", "KVProfileStore"]
