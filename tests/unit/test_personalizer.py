"""From a user to contexts and weights, against contexts and weights written by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SamplingParams,
    preference_scope,
)
from amulet_integrations.errors import (
    GuidanceScaleError,
    PreferenceSelectionError,
    ProfileStoreError,
)
from amulet_integrations.personalizer import Personalizer
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from amulet_integrations.whose import Whose

QUESTION = [ChatMessage(role="user", content="Is the sea blue?")]
NOW = datetime.now(UTC)
GENTLE = AmuletParams(iterations=2)

PROFILES = [
    PreferenceProfile(user_id="brief", preferences=["Be brief."]),
    PreferenceProfile(user_id="both", preferences=["Be brief.", "Be kind."]),
    PreferenceProfile(
        user_id="weighed",
        preferences=[
            Preference(text="Be brief.", weight=0.5),
            Preference(text="Be kind.", weight=-0.25),
        ],
    ),
    PreferenceProfile(
        user_id="over",
        preferences=[Preference(text="Be brief.", valid_until=NOW - timedelta(days=1))],
    ),
    PreferenceProfile(
        user_id="own", preferences=["Be brief."], params=GENTLE, method="linear_alignment"
    ),
]


@pytest.fixture
def personalizer(tiny_engine):
    return Personalizer(tiny_engine, profiles=InMemoryProfileStore(PROFILES))


def request_of(personalizer, whose, **config):
    personalization = personalizer.resolve(personalizer.select(whose, **config))
    return personalizer.request(QUESTION, personalization, SamplingParams())


P = AmuletParams().guidance_scale


@pytest.mark.parametrize(
    ("whose", "texts", "weights"),
    [
        ({"user_id": "brief"}, ["Be brief."], [1 - P, P]),
        ({"user_id": "both"}, ["Be brief.\nBe kind."], [1 - P, P]),
        ({"user_id": "weighed"}, ["Be brief.", "Be kind."], [1 - P / 4, P / 2, -P / 4]),
        ({"user_id": "over"}, [], [1]),
        ({"user_id": "nobody knows"}, [], [1]),
        ({"user_id": "own"}, ["Be brief."], [-2, 3]),
        ({"user_id": "own", "method": "amulet"}, ["Be brief."], None),
        ({"user_id": "brief", "method": "pref"}, ["Be brief."], [0, 1]),
        ({"user_id": "brief", "method": "base"}, [], [1]),
        ({"preference": "Be brief."}, ["Be brief."], [1 - P, P]),
        ({"preference": Preference(text="Be brief.", weight=-1)}, ["Be brief."], [1 + P, -P]),
        ({"profile": PROFILES[0]}, ["Be brief."], [1 - P, P]),
        ({}, [], [1]),
    ],
)
def test_contexts_and_weights(personalizer, tiny_engine, whose, texts, weights):
    request = request_of(personalizer, Whose(**whose))
    by_hand = PromptBuilder(tiny_engine.tokenizer).contexts(QUESTION, [None, *texts])
    if weights is None:  # Amulet with the profile's own parameters
        weights = [1 - GENTLE.guidance_scale, GENTLE.guidance_scale]
    assert [list(ids) for ids in request.contexts] == by_hand
    assert request.weights == pytest.approx(weights)


def test_the_nearest_name_wins(tiny_engine):
    personalizer = Personalizer(
        tiny_engine,
        profiles=InMemoryProfileStore(PROFILES),
        default=Whose(preference="The constructor's."),
    )

    def chosen(call, user_id=None):
        whose = personalizer.select(call, user_id)
        return whose.source, whose.user_id

    assert chosen(Whose()) == ("constructor", None)
    with preference_scope(user_id="both"):
        assert chosen(Whose()) == ("scope", "both")
        assert chosen(Whose(), "brief") == ("config", "brief")
        assert chosen(Whose(user_id="own"), "brief") == ("call", "own")
        assert chosen(Whose(preference="x"), "brief") == ("call", None)


def test_a_named_user_does_not_get_the_constructors_preference(tiny_engine):
    store = InMemoryProfileStore()
    personalizer = Personalizer(
        tiny_engine, profiles=store, default=Whose(preference="The constructor's.")
    )
    assert request_of(personalizer, Whose(user_id="new")).weights == (1.0,)


def test_users_without_a_store(tiny_engine):
    personalizer = Personalizer(tiny_engine)
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        personalizer.select(Whose(user_id="ann"))
    with preference_scope(user_id="ann"), pytest.raises(PreferenceSelectionError):
        personalizer.select(Whose())
    # Frameworks put a user id into their config for reasons of their own.
    assert request_of(personalizer, Whose(), config_user_id="ann").weights == (1.0,)


def test_a_store_that_breaks_its_word_is_an_error_of_ours(tiny_engine):
    class Odd(InMemoryProfileStore):
        answer: object = ZeroDivisionError("mine")

        def get(self, user_id):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    store = Odd()
    personalizer = Personalizer(tiny_engine, profiles=store)
    with pytest.raises(ProfileStoreError, match=r"Odd\.get failed: ZeroDivisionError"):
        request_of(personalizer, Whose(user_id="ann"))
    store.answer = {"user_id": "ann"}
    with pytest.raises(ProfileStoreError, match="returned a dict"):
        request_of(personalizer, Whose(user_id="ann"))
    store.answer = PreferenceProfile(user_id="bob", preferences=["Shout."])
    with pytest.raises(ProfileStoreError, match="another user's profile for user_id='ann'"):
        request_of(personalizer, Whose(user_id="ann"))


def test_the_bound_on_strength_holds_for_profiles_too(tiny_engine):
    strong = AmuletParams(alpha=4, lambda_=0.5, iterations=15)
    profile = PreferenceProfile(user_id="bold", preferences=["Shout."], params=strong)
    with pytest.raises(GuidanceScaleError, match="max_guidance_scale = 20"):
        request_of(Personalizer(tiny_engine), Whose(profile=profile))
    with pytest.raises(GuidanceScaleError):
        Personalizer(tiny_engine, params=strong)


def test_fingerprints_tell_apart_what_must_not_be_confused(personalizer):
    choices = [
        Whose(user_id="brief"),
        Whose(user_id="both"),
        Whose(user_id="over"),
        Whose(user_id="brief", method="pref"),
        Whose(user_id="brief", params=GENTLE),
        Whose(preference="Be brief."),
        Whose(preference="Be brief!"),
        Whose(),
    ]

    def fingerprint(whose):
        return personalizer.resolve(personalizer.select(whose)).fingerprint

    assert len({fingerprint(whose) for whose in choices}) == len(choices)
    assert fingerprint(choices[0]) == fingerprint(choices[0])


def test_what_is_told_holds_no_text_unless_asked(personalizer):
    applied = personalizer.resolve(personalizer.select(Whose(user_id="weighed")))
    assert "brief" not in repr(applied)
    assert "brief" not in str(applied.describe())
    assert applied.describe(texts=True)["preferences"][0]["text"] == "Be brief."
    assert applied.describe()["guidance_scale"] == pytest.approx(P)
