"""Every family of models writes what plain transformers writes, or is refused when it is loaded."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.errors import UnsupportedModelError
from tests.support.families import FAMILIES, WINDOW_NAMES, tiny_checkpoint
from tests.support.families.report import CACHE_KEY, RIGHT
from tests.support.families.trials import LONG, TRIALS, Trial, load_trial
from tests.support.tiny import CONTEXT_WINDOW

pytestmark = pytest.mark.acceptance

RUN = [name for name, family in FAMILIES.items() if not family.refused]
REFUSED = [name for name, family in FAMILIES.items() if family.refused]
WITH_WINDOWS = [name for name in RUN if set(WINDOW_NAMES) & FAMILIES[name].options.keys()]


@pytest.fixture
def record(request, pytestconfig):
    """Keeps what came of a family's trials, for the tables of the documentation."""
    name = request.node.callspec.params["name"]

    def keep(outcome):
        cache = pytestconfig.cache
        cache.set(CACHE_KEY, {**cache.get(CACHE_KEY, {}), name: outcome})

    keep({})
    return keep


def outcome_of(trial: Trial, name: str) -> str:
    """What came of a trial, in a word or in the words of the error."""
    trial.engine.forget_prefixes()
    try:
        TRIALS[name](trial)
    except Exception as error:  # noqa: BLE001 - the other trials are to be seen too
        return f"{type(error).__name__}: {error}"
    return RIGHT


@pytest.mark.parametrize("name", RUN)
def test_a_family_is_right_in_all_trials(name, tmp_path, record):
    with load_trial(FAMILIES[name], tmp_path) as trial:
        outcome = {each: outcome_of(trial, each) for each in TRIALS}
    record(outcome)
    assert outcome == dict.fromkeys(TRIALS, RIGHT)


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_is_refused_when_it_is_loaded(name, tmp_path, record):
    with pytest.raises(UnsupportedModelError), load_trial(FAMILIES[name], tmp_path):
        pass
    record({"load": RIGHT})


@pytest.mark.parametrize("name", WITH_WINDOWS)
def test_windows_matter_where_they_are_read(name):
    """Otherwise the trials would pass whatever the engine makes of a window."""
    family = FAMILIES[name]
    (option,) = set(WINDOW_NAMES) & family.options.keys()
    prompt = torch.tensor([range(2, LONG)])
    narrow, wide = (
        tiny_checkpoint(family, **{option: size})(prompt).logits[0, -1]
        for size in (family.options[option], CONTEXT_WINDOW)
    )
    same = torch.allclose(narrow, wide, atol=1e-4)
    assert same is family.ignores_window
