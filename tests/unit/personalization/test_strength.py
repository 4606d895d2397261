"""How strongly preferences are applied: who says it, who goes before whom, what is refused."""

from __future__ import annotations

import json

import pytest

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.client import AmuletClient
from amulet_integrations.decoding.strength import PRESETS, Preset, Strength
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.saved_presets import SavedPreset, save_preset
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles import current_scope
from tests.support.scripted import ScriptedEngine

pytestmark = pytest.mark.usefixtures("shared_parents")

SCALE, BOUND = PRESETS["default"]
GENTLE = AmuletParams(iterations=2)
LEVELS = ("call", "config", "scope", "profile", "parent", "constructor")


def resolved_selection(call, config=None):
    return resolve_user(call, config, current_scope(), searchable=True)


def resolved(said, method=None, engine=None, **settings):
    """What one answer is decoded with, where each level says what is told of it."""
    parent = PreferenceProfile(user_id="all", **said.get("parent", {}))
    ann = PreferenceProfile(
        user_id="ann", parent="all", preferences=["Be brief."], **said.get("profile", {})
    )
    personalizer = Personalizer(
        engine or ScriptedEngine(),
        profiles=InMemoryProfileStore([parent, ann]),
        strength=Strength(**said.get("constructor", {})),
        **settings,
    )
    call = PreferenceSelection(method=method, **said.get("call", {}))
    with preference_scope(user_id="ann", **said.get("scope", {})):
        config = PreferenceSelection(**said.get("config", {}))
        selection = resolved_selection(call, config)
    return personalizer.personalize(selection)


def strength(said, **settings):
    applied = resolved(said, **settings)
    return applied.preset, Preset(applied.guidance_scale, applied.max_kl)


@pytest.mark.parametrize("nearest", range(len(LEVELS)), ids=LEVELS)
def test_the_nearest_level_that_says_it_counts_for_scale_and_bound_each(nearest):
    says = LEVELS[nearest:]
    scales = {level: {"guidance_scale": 1.5 + place} for place, level in enumerate(says)}
    bounds = {level: {"max_kl": 0.5 + place} for place, level in enumerate(says)}
    both = {level: {**scales[level], **bounds[level]} for level in says}
    assert strength(scales) == (None, Preset(1.5, BOUND))
    assert strength(bounds) == (None, Preset(SCALE, 0.5))
    assert strength(both) == (None, Preset(1.5, 0.5))
    lifted = {**bounds, LEVELS[nearest]: {"max_kl": None}}
    assert strength(lifted) == (None, Preset(SCALE, None))
    assert strength({**lifted, "call": {"guidance_scale": 3, **lifted.get("call", {})}}) == (
        None,
        Preset(3.0, None),
    )


@pytest.mark.parametrize(
    ("said", "name", "applied"),
    [
        ({}, "default", PRESETS["default"]),
        *[({"call": {"preset": name}}, name, preset) for name, preset in PRESETS.items()],
        ({"call": {"preset": "strong", "max_kl": 0.05}}, None, (PRESETS["strong"][0], 0.05)),
        ({"call": {"preset": "strong", "max_kl": None}}, None, (PRESETS["strong"][0], None)),
        # A preset brings its bound, and a farther one does not replace it.
        ({"call": {"preset": "paper"}, "profile": {"max_kl": 0.05}}, "paper", PRESETS["paper"]),
        ({"call": {"preset": "gentle"}, "profile": {"max_kl": None}}, "gentle", PRESETS["gentle"]),
        (
            {"call": {"max_kl": 0.05}, "profile": {"preset": "strong"}},
            None,
            (PRESETS["strong"].guidance_scale, 0.05),
        ),
        ({"call": {"guidance_scale": 3}, "profile": {"preset": "paper"}}, None, (3.0, None)),
        ({"profile": {"params": GENTLE}}, None, (GENTLE.guidance_scale, BOUND)),
        (
            {"profile": {"params": GENTLE}, "constructor": {"max_kl": None}},
            None,
            (GENTLE.guidance_scale, None),
        ),
        # Nothing that lies between base and pref is bounded, unless a bound is said.
        ({"call": {"guidance_scale": 0.0}}, None, (0.0, None)),
        ({"call": {"guidance_scale": 1.0}}, None, (1.0, None)),
        ({"call": {"guidance_scale": 1.01}}, None, (1.01, BOUND)),
        ({"call": {"guidance_scale": -0.5}}, None, (-0.5, BOUND)),
        ({"call": {"guidance_scale": 0.5, "max_kl": 0.1}}, None, (0.5, 0.1)),
        ({"call": {"guidance_scale": 0.5}, "constructor": {"max_kl": 0.1}}, None, (0.5, 0.1)),
    ],
    ids=str,
)
def test_what_a_strength_comes_to(said, name, applied):
    assert strength(said) == strength(said, method="amulet") == (name, Preset(*applied))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, ""),
        ({"guidance_scale": 0.0}, "guidance_scale=0.0"),
        ({"preset": "default", "max_kl": None}, "preset='default' max_kl=None"),
        ({"preset": "paper", "max_kl": 0.2}, "preset='paper' max_kl=0.2"),
    ],
)
def test_a_strength_shows_what_is_set(said, shown):
    assert str(Strength(**said)) == shown


@pytest.mark.parametrize(
    ("method", "applied"),
    [("linear_alignment", (3.0, BOUND)), ("pref", (1.0, None)), ("base", (0.0, None))],
)
def test_other_methods_have_their_own_scale_and_only_extrapolation_is_bounded(method, applied):
    for level in LEVELS[1:]:  # at the call it would be refused
        assert strength({level: {"preset": "strong"}}, method=method)[0] is None
    assert strength({}, method=method) == (None, Preset(*applied))
    lifted = strength({"profile": {"max_kl": None}}, method=method)
    assert lifted == (None, Preset(applied[0], None))


def test_a_scope_of_another_user_says_nothing_of_the_strength():
    store = InMemoryProfileStore(
        [PreferenceProfile(user_id=name, preferences=["Be brief."]) for name in ("ann", "bob")]
    )
    personalizer = Personalizer(ScriptedEngine(), profiles=store)

    def scale(call):
        return personalizer.personalize(resolved_selection(call)).guidance_scale

    with preference_scope(user_id="bob", guidance_scale=3.0, max_kl=None):
        assert scale(PreferenceSelection()) == scale(PreferenceSelection(user_id="bob")) == 3.0
        assert (
            scale(PreferenceSelection(user_id="ann"))
            == scale(PreferenceSelection(preference="Be kind."))
            == SCALE
        )
        with preference_scope(guidance_scale=4.0):
            assert scale(PreferenceSelection()) == 4.0
        with preference_scope(user_id="ann"):
            assert scale(PreferenceSelection()) == SCALE


BAD = [
    *[({"max_kl": value}, "max_kl=.*None for no bound") for value in (-0.1, "much", True)],
    *[({"max_kl": float(value)}, "max_kl=.*None for no bound") for value in ("nan", "inf")],
    *[({"guidance_scale": value}, "give a finite number") for value in ("2", True, [2])],
    *[({"guidance_scale": float(value)}, "give a finite number") for value in ("nan", "-inf")],
    ({"preset": "bold"}, "'gentle', 'default', 'strong' or 'paper'"),
    ({"guidance_scale": 2.0, "preset": "strong"}, "guidance_scale and preset.*in one way"),
    ({"params": GENTLE, "preset": "strong"}, "params and preset.*in one way"),
    ({"guidance_scale": 2.0, "params": GENTLE}, "guidance_scale and params.*in one way"),
]


@pytest.mark.parametrize(("said", "remedy"), BAD, ids=str)
def test_what_is_no_strength_is_refused_at_every_level(said, remedy):
    engine = ScriptedEngine()
    settings = AmuletClient(engine=engine)
    levels = {
        "call": lambda: settings.read_call(said),
        "whose": lambda: PreferenceSelection(**said),
        "scope": lambda: preference_scope(**said),
        "constructor": lambda: AmuletClient(engine=engine, **said),
        "strength": lambda: Strength(**said),
    }
    for make in levels.values():
        with pytest.raises(InvalidParamsError, match=remedy):
            make()
    # A profile's own values are told as a profile's.
    with pytest.raises(ValueError, match=remedy):
        PreferenceProfile(user_id="ann", **said)
    assert engine.requests == []


@pytest.mark.parametrize("said", [{"guidance_scale": 2.0}, {"preset": "strong"}], ids=str)
def test_a_strength_beside_a_method_that_has_its_own_is_refused(said):
    for method in ("pref", "linear_alignment", "base"):
        with pytest.raises(InvalidParamsError, match=f"method='{method}'.*Leave one of them out"):
            PreferenceSelection(method=method, **said)
    assert PreferenceSelection(method="amulet", **said).strength == Strength(**said)
    assert PreferenceSelection(method="linear_alignment", max_kl=0.1).strength.max_kl == 0.1


def test_what_a_bound_held_back_is_told_after_an_answer():
    applied = resolved({"call": {"guidance_scale": 3.0}})
    before = applied.describe()
    told = {"guidance_scale": 3.0, "max_kl": BOUND, "preset": None}
    assert before.items() >= told.items()
    assert "bounded_tokens" not in before
    after = applied.describe(fractions=[1.0, 0.5, 0.0, 1.0])
    assert after.pop("bounded_tokens") == 2
    assert after.pop("mean_guidance_scale") == pytest.approx((3.0 + 2.0 + 1.0 + 3.0) / 4)
    assert after == before
    json.dumps(before, allow_nan=False)


def test_profiles_of_before_are_read_as_ever():
    old = {
        "user_id": "ann",
        "preferences": [{"text": "Be brief."}],
        "params": {"iterations": 2},
        "method": None,
        "version": 3,
    }
    profile = PreferenceProfile.model_validate_json(json.dumps(old))
    assert profile.strength == Strength(params=GENTLE)
    assert profile.preferences == (Preference(text="Be brief."),)


@pytest.fixture
def saved(monkeypatch, tmp_path):
    monkeypatch.setenv("AMULET_CONFIG_DIR", str(tmp_path))
    save_preset("these weights", SavedPreset(guidance_scale=1.75, max_kl=0.07, model="m"))


class Known(ScriptedEngine):
    model_fingerprint = "these weights"


class Other(ScriptedEngine):
    model_fingerprint = "other weights"


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("said", "settings", "name", "applied"),
    [
        ({}, {"engine": Known()}, "saved", (1.75, 0.07)),
        ({}, {"engine": Other()}, "default", (SCALE, BOUND)),
        ({}, {"engine": ScriptedEngine()}, "default", (SCALE, BOUND)),
        ({}, {"engine": Known(), "saved_presets": False}, "default", (SCALE, BOUND)),
        ({"profile": {"max_kl": None}}, {"engine": Known()}, None, (1.75, None)),
        ({"profile": {"preset": "default"}}, {"engine": Known()}, "default", (SCALE, BOUND)),
        ({"constructor": {"guidance_scale": 2.5}}, {"engine": Known()}, None, (2.5, 0.07)),
        ({}, {"engine": Known(), "method": "pref"}, None, (1.0, None)),
    ],
    ids=["its own", "another's", "unknown", "off", "no bound", "by name", "a scale", "pref"],
)
def test_a_preset_that_was_saved_for_the_model_is_the_default(said, settings, name, applied):
    found = strength(said, **{"saved_presets": True, **settings})
    assert found == (name, Preset(*applied))


@pytest.mark.usefixtures("saved")
def test_wrappers_find_it_unless_they_are_told_not_to(tiny_engine):
    save_preset(tiny_engine.model_fingerprint, SavedPreset(guidance_scale=1.25))
    for settings, scale in ({}, 1.25), ({"saved_presets": False}, SCALE):
        wrapper = AmuletClient(engine=tiny_engine, preference="Be brief.", **settings)
        applied = wrapper.personalizer.personalize(wrapper.resolve_user(PreferenceSelection()))
        assert applied.guidance_scale == scale


def test_no_model_is_loaded_to_look_for_a_preset_where_none_is_saved():
    def load():
        raise AssertionError("the model is loaded")

    applied = Personalizer(load, saved_presets=True).personalize(
        PreferenceSelection(preference="Be brief.")
    )
    assert applied.preset == "default"
