"""From a user to contexts and weights, against contexts and weights written by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SamplingParams,
    preference_scope,
)
from amulet_integrations.decoding.strength import PRESETS, Strength
from amulet_integrations.errors import (
    GuidanceScaleError,
    PreferenceSelectionError,
    ProfileStoreError,
)
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles import current_scope
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("shared_parents")

QUESTION = ChatMessage(role="user", content="Is the sea blue?")
NOW = datetime.now(UTC)
GENTLE = AmuletParams(iterations=2)
STEERED_AWAY = Preference(text="Be brief.", weight=-1)

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


def selected(call=None, config=None, default=None, *, searchable=True):
    call = call or PreferenceSelection()
    return resolve_user(call, config, current_scope(), default, searchable=searchable)


def request_of(personalizer, call, default=None):
    personalization = personalizer.personalize(selected(call, None, default))
    return personalizer.build_request(
        PreparedCall(
            messages=(QUESTION,), personalization=personalization, sampling=SamplingParams()
        )
    )


def test_calls_and_answers_on_their_way_show_no_text(personalizer):
    call = PreparedCall(
        messages=(QUESTION,),
        personalization=personalizer.personalize(selected(PreferenceSelection(user_id="brief"))),
        sampling=SamplingParams(),
    )
    answer = personalizer.prepare_answer(call)
    shown = repr(call) + repr(answer)
    assert QUESTION.content not in shown
    assert "Be brief." not in shown


P, BOUND = PRESETS["default"]


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
        ({"preference": STEERED_AWAY}, ["Be brief."], [1 + P, -P]),
        ({"profile": PROFILES[0]}, ["Be brief."], [1 - P, P]),
        ({}, [], [1]),
    ],
)
def test_contexts_and_weights(personalizer, tiny_engine, whose, texts, weights):
    request = request_of(personalizer, PreferenceSelection(**whose))
    by_hand = PromptBuilder(tiny_engine.tokenizer).contexts([QUESTION], [None, *texts])
    if weights is None:  # Amulet with the profile's own parameters
        weights = [1 - GENTLE.guidance_scale, GENTLE.guidance_scale]
    assert [list(ids) for ids in request.contexts] == by_hand
    assert request.weights == pytest.approx(weights)
    bounded = whose.get("method") != "pref" and len(weights) > 1
    assert request.max_kl == (BOUND if bounded else None)
    reference = {2: (0, 1), 3: (0.75, 0.5, -0.25)}[len(weights)] if bounded else None
    if whose.get("preference") == STEERED_AWAY:
        reference = (2, -1)
    assert request.reference_weights == reference


def test_the_nearest_name_wins():
    default = PreferenceSelection(preference="The constructor's.")

    def chosen(call, user_id=None):
        selection = selected(call, PreferenceSelection(user_id=user_id), default)
        return selection.source, selection.user_id

    assert chosen(PreferenceSelection()) == ("constructor", None)
    with preference_scope(user_id="both"):
        assert chosen(PreferenceSelection()) == ("scope", "both")
        assert chosen(PreferenceSelection(), "brief") == ("config", "brief")
        assert chosen(PreferenceSelection(user_id="own"), "brief") == ("call", "own")
        assert chosen(PreferenceSelection(preference="x"), "brief") == ("call", None)


def test_a_named_user_does_not_get_the_constructors_preference(tiny_engine):
    personalizer = Personalizer(tiny_engine, profiles=InMemoryProfileStore())
    default = PreferenceSelection(preference="The constructor's.")
    assert request_of(personalizer, PreferenceSelection(user_id="new"), default).weights == (1.0,)


def test_users_without_a_store():
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        selected(PreferenceSelection(user_id="ann"), searchable=False)
    with preference_scope(user_id="ann"), pytest.raises(PreferenceSelectionError):
        selected(searchable=False)


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
        request_of(personalizer, PreferenceSelection(user_id="ann"))
    store.answer = {"user_id": "ann"}
    with pytest.raises(ProfileStoreError, match="returned a dict"):
        request_of(personalizer, PreferenceSelection(user_id="ann"))
    store.answer = PreferenceProfile(user_id="bob", preferences=["Shout."])
    with pytest.raises(ProfileStoreError, match="another user's profile for user_id='ann'"):
        request_of(personalizer, PreferenceSelection(user_id="ann"))


def test_the_bound_on_strength_holds_for_profiles_too(tiny_engine):
    strong = AmuletParams(alpha=4, lambda_=0.5, iterations=15)
    profile = PreferenceProfile(user_id="bold", preferences=["Shout."], params=strong)
    with pytest.raises(GuidanceScaleError, match="max_guidance_scale = 20"):
        request_of(Personalizer(tiny_engine), PreferenceSelection(profile=profile))
    with pytest.raises(GuidanceScaleError):
        Personalizer(tiny_engine, strength=Strength(params=strong))
    tight = Personalizer(tiny_engine, max_guidance_scale=6.0)
    for said in ({"guidance_scale": 6.1}, {"guidance_scale": -7.0}, {"params": strong}):
        with pytest.raises(GuidanceScaleError, match=f"{next(iter(said))}="):
            request_of(tight, PreferenceSelection(preference="Shout.", **said))


def test_fingerprints_tell_apart_what_must_not_be_confused(personalizer):
    choices = [
        PreferenceSelection(user_id="brief"),
        PreferenceSelection(user_id="both"),
        PreferenceSelection(user_id="over"),
        PreferenceSelection(user_id="brief", method="pref"),
        PreferenceSelection(user_id="brief", params=GENTLE),
        PreferenceSelection(user_id="brief", max_kl=None),
        PreferenceSelection(user_id="brief", max_kl=BOUND / 2),
        PreferenceSelection(preference="Be brief."),
        PreferenceSelection(preference="Be brief!"),
        PreferenceSelection(),
    ]

    def fingerprint(whose):
        return personalizer.personalize(selected(whose)).fingerprint

    assert len({fingerprint(whose) for whose in choices}) == len(choices)
    assert fingerprint(choices[0]) == fingerprint(choices[0])


def test_what_is_told_holds_no_text_unless_asked(personalizer):
    applied = personalizer.personalize(selected(PreferenceSelection(user_id="weighed")))
    assert "brief" not in repr(applied)
    assert "brief" not in str(applied.describe())
    assert applied.describe(texts=True)["preferences"][0]["text"] == "Be brief."
    assert applied.describe()["guidance_scale"] == pytest.approx(P)


HEALTH = Preference(text="Be gentle.", when={"topic": "health"})
GERMAN = Preference(text="Answer in German.", when={"locale": "de"})
WHEN = PreferenceProfile(user_id="when", preferences=[HEALTH, GERMAN, "Be brief."])


def holding(personalizer, call=None, config=None, default=None):
    call, config = PreferenceSelection(**(call or {})), PreferenceSelection(**(config or {}))
    applied = personalizer.personalize(selected(call, config, default))
    return [it.text for it in applied.preferences]


@pytest.fixture
def in_germany(tiny_engine):
    """What holds by default of a client that is made for a user in Germany."""
    default = PreferenceSelection(user_id="when", preference_context={"locale": "de"})
    store = InMemoryProfileStore([WHEN, *PROFILES])
    return partial(holding, Personalizer(tiny_engine, profiles=store), default=default)


def test_the_circumstances_of_all_levels_are_put_together(in_germany):
    assert in_germany() == ["Answer in German.", "Be brief."]
    health = {"preference_context": {"topic": "health"}}
    everything = ["Be gentle.", "Answer in German.", "Be brief."]
    assert in_germany(health) == everything
    assert in_germany(None, health) == everything
    with preference_scope(**health):
        assert in_germany() == everything


def test_the_nearest_value_counts(in_germany):
    english = {"preference_context": {"locale": "en"}}
    health = {"preference_context": {"topic": "health"}}
    with preference_scope(**english):
        assert in_germany() == ["Be brief."]
        german = {"preference_context": {"locale": "de"}}
        assert in_germany(None, german) == ["Answer in German.", "Be brief."]
        assert in_germany(english, german) == ["Be brief."]
        assert in_germany(health, german)[0] == "Be gentle."


def test_what_is_told_of_another_users_call_says_nothing_of_this_one(tiny_engine):
    health = {"topic": "health"}
    other = Personalizer(tiny_engine, profiles=InMemoryProfileStore([WHEN]))
    for naming in ({"user_id": "brief"}, {"preference": "x"}, {"profile": PROFILES[0]}):
        with preference_scope(**naming, preference_context=health):
            assert holding(other, {"user_id": "when"}) == ["Be brief."]
    with preference_scope(user_id="when", preference_context=health):
        assert holding(other, {"user_id": "when"}) == ["Be gentle.", "Be brief."]
        assert holding(other, {"profile": WHEN}) == ["Be gentle.", "Be brief."]
        assert holding(other, None, {"user_id": "brief"}) == []
    config = {"user_id": "brief", "preference_context": health}
    assert holding(other, {"user_id": "when"}, config) == ["Be brief."]


def test_the_constructors_context_is_every_calls(in_germany):
    other = WHEN.model_copy(update={"user_id": "other"})
    assert in_germany({"profile": other})[0] == "Answer in German."


def test_one_preference_has_its_conditions_too(tiny_engine):
    personalizer = Personalizer(tiny_engine)
    assert holding(personalizer, {"preference": HEALTH}) == []
    met = {"preference": HEALTH, "preference_context": {"topic": "health"}}
    assert holding(personalizer, met) == ["Be gentle."]


def test_fingerprints_follow_the_circumstances(tiny_engine):
    personalizer = Personalizer(tiny_engine, profiles=InMemoryProfileStore([WHEN]))

    def fingerprint(context):
        call = PreferenceSelection(user_id="when", preference_context=context)
        return personalizer.personalize(selected(call)).fingerprint

    assert fingerprint({"topic": "health"}) != fingerprint({})
    assert fingerprint({"topic": "sport"}) == fingerprint({})


def test_preferences_of_parents_hold_with_the_users_own(tiny_engine):
    everyone = PreferenceProfile(user_id="all", preferences=["Be kind."], params=GENTLE)
    ann = PreferenceProfile(user_id="ann", parent="all", preferences=["Be brief."])
    personalizer = Personalizer(tiny_engine, profiles=InMemoryProfileStore([everyone, ann]))
    given = PreferenceProfile(user_id="new", parent="all", preferences=["Be bold."])
    assert holding(personalizer, {"user_id": "ann"}) == ["Be kind.", "Be brief."]
    assert holding(personalizer, {"profile": given}) == ["Be kind.", "Be bold."]
    applied = personalizer.personalize(selected(PreferenceSelection(user_id="ann")))
    assert (applied.user_id, applied.guidance_scale) == ("ann", GENTLE.guidance_scale)


def test_a_given_profile_with_a_parent_needs_a_store(tiny_engine):
    given = PreferenceProfile(user_id="new", parent="all")
    with pytest.raises(PreferenceSelectionError, match=r"parent='all'.*pass profiles="):
        holding(Personalizer(tiny_engine), {"profile": given})


DEFAULT_SYSTEM = "You are a helpful assistant."


def context_by_hand(tokenizer, preference):
    system = DEFAULT_SYSTEM if preference is None else f"{DEFAULT_SYSTEM}\n\n{preference}"
    text = (
        f"<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\nIs the sea blue?<|im_end|>\n<|im_start|>assistant\n"
    )
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(
    "weights",
    [(1.0, 1.0), (1.0, 0.99), (0.5, 0.25), (0.7, -0.7), (-1.0, -0.5), (0.3, 0.0), (1, 1, 0.5)],
)
@pytest.mark.parametrize("params", [AmuletParams(), GENTLE], ids=["strong", "gentle"])
def test_several_preferences_decode_as_the_mixture_says(tiny_engine, weights, params):
    """Against float64, one whole forward pass for each context and token."""
    texts = ["Be brief.", "The sea is kind.", "You are blue."][: len(weights)]
    preferences = [Preference(text=t, weight=w) for t, w in zip(texts, weights, strict=True)]
    profile = PreferenceProfile(user_id="ann", preferences=preferences, params=params, max_kl=None)
    short = SamplingParams(max_new_tokens=12)
    request = request_of(Personalizer(tiny_engine), PreferenceSelection(profile=profile))
    (result,) = tiny_engine.generate([request.model_copy(update={"sampling": short})])

    mixture = {None: 1.0}
    held = {t: w for t, w in zip(texts, weights, strict=True) if w}
    if all(weight == 1.0 for weight in held.values()):
        held = {"\n".join(held): 1.0}
    divisor = max(1.0, sum(abs(weight) for weight in held.values()))
    for text, weight in held.items():
        strength = params.guidance_scale * weight / divisor
        mixture[text] = strength
        mixture[None] -= strength
    tokenizer = tiny_engine.tokenizer
    expected = slow_greedy(
        tiny_model(),
        [context_by_hand(tokenizer, text) for text in mixture],
        list(mixture.values()),
        short.max_new_tokens,
    )
    assert list(result.token_ids) == expected
