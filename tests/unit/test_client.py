"""What both wrappers take, tried on a bare model with the shared fields."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from pathlib import Path

import pytest
import torch

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    PreferenceProfile,
    SqlProfileStore,
)
from amulet_integrations.client import AmuletClient
from amulet_integrations.errors import (
    AmuletError,
    GuidanceScaleError,
    InvalidParamsError,
    InvalidProfileError,
    InvalidRequestError,
    ModelNotFoundError,
    PreferenceSelectionError,
    ProfileStoreError,
    UnknownArgumentError,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import CachedProfileStore
from tests.support.tiny import tiny_model, tiny_tokenizer

STRONG = AmuletParams(alpha=4, lambda_=0.5, iterations=15)


@pytest.mark.parametrize(
    ("values", "error", "told"),
    [
        ({"modle": "x"}, UnknownArgumentError, "did you mean 'model'"),
        ({"model": "no/such-model"}, ModelNotFoundError, "no/such-model"),
        ({"temperature": -1}, InvalidParamsError, "temperature=-1"),
        ({"max_tokens": 0}, InvalidParamsError, "max_new_tokens=0"),
        ({"max_tokens": 5, "max_new_tokens": 5}, InvalidParamsError, "one parameter"),
        ({"method": "magic"}, InvalidParamsError, "method='magic'"),
        ({"params": STRONG}, GuidanceScaleError, "143,056"),
        ({"method": "linear_alignment", "linear_alignment_ratio": 30}, GuidanceScaleError, "31"),
        ({"preference": "x", "user_id": "ann"}, PreferenceSelectionError, "preference and user_id"),
        ({"timeout": -1}, InvalidParamsError, "timeout=-1"),
        ({"preference": "  "}, InvalidProfileError, "text"),
        ({"user_id": ""}, InvalidProfileError, "user_id"),
    ],
)
def test_bad_values_fail_when_the_wrapper_is_made(values, error, told):
    with pytest.raises(error, match=told) as caught:
        AmuletClient(**values)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AmuletError)


def test_the_operator_may_raise_the_bound(tiny_engine):
    AmuletClient(engine=tiny_engine, params=STRONG, max_guidance_scale=200_000)


def test_a_call_may_change_how_but_not_what(tiny_engine):
    settings = AmuletClient(engine=tiny_engine, temperature=0.5, stop="END", seed=1)
    call = settings.read_call({"temperature": 0.9, "max_tokens": 7, "user_id": "ann"})
    assert (call.sampling.temperature, call.sampling.max_new_tokens) == (0.9, 7)
    assert (call.sampling.stop, call.sampling.seed) == (("END",), 1)
    assert call.selection.user_id == "ann"
    with pytest.raises(UnknownArgumentError, match="did you mean 'temperature'"):
        settings.read_call({"temprature": 0.9})
    with pytest.raises(PreferenceSelectionError, match="given together"):
        settings.read_call({"user_id": "ann", "preference": "x"})


@pytest.mark.parametrize(
    ("values", "error", "told"),
    [
        ({"max_tokens": 5, "max_new_tokens": 6}, InvalidParamsError, "one parameter"),
        ({"timeout": 0}, InvalidParamsError, "timeout=0"),
        ({"user_id": ""}, InvalidProfileError, "user_id"),
        ({"method": "magic"}, InvalidParamsError, "method='magic'"),
        ({"params": {"eta": 0}}, InvalidParamsError, "eta=0"),
        ({"preference": 3}, PreferenceSelectionError, "preference is a int"),
        ({"profile": 3}, PreferenceSelectionError, "profile is a int"),
    ],
)
def test_bad_arguments_of_a_call_are_refused_when_they_are_read(tiny_engine, values, error, told):
    with pytest.raises(error, match=told):
        AmuletClient(engine=tiny_engine).read_call(values)


def test_a_copy_with_another_model_or_store_uses_it(tiny_engine, tmp_path):
    stores = [str(tmp_path / "one.db"), tmp_path / "two.db"]
    with SqlProfileStore(stores[1]) as second:
        second.save(PreferenceProfile(user_id="ann", preferences=["Be brief."]))
    settings = AmuletClient(engine=tiny_engine, profiles=stores[0])
    ann = PreferenceSelection(user_id="ann")
    assert settings.personalizer.personalize(settings.resolve_user(ann)).preferences == ()
    copy = settings.model_copy(update={"profiles": stores[1]})
    assert len(copy.personalizer.personalize(copy.resolve_user(ann)).preferences) == 1


def test_a_copy_with_another_model_loads_that_one(tmp_path):
    folders = []
    for seed in (0, 5):
        folders.append(str(tmp_path / str(seed)))
        tiny_model(seed=seed).save_pretrained(folders[-1])
        tiny_tokenizer().save_pretrained(folders[-1])
    first = AmuletClient(model=folders[0])
    second = first.model_copy(update={"model": folders[1]})
    assert first.load_engine().model_name == folders[0]
    assert second.load_engine().model_name == folders[1]
    assert first.load_engine() is first.load_engine()


def test_a_profile_goes_where_langchain_keeps_something_else(tiny_engine):
    profile = PreferenceProfile(user_id="ann", preferences=["Be brief."])
    settings = AmuletClient(engine=tiny_engine, profile=profile)
    assert settings.preference_profile == profile


def test_no_private_text_is_shown_or_dumped(tiny_engine):
    settings = AmuletClient(
        engine=tiny_engine, preference="my secret", profiles="sqlite:///secret-place.db"
    )
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "secret" not in shown


def test_copies_for_users_share_engine_and_store(tiny_engine):
    store = InMemoryProfileStore([PreferenceProfile(user_id="ann", preferences=["Be brief."])])
    settings = AmuletClient(engine=tiny_engine, profiles=store)
    ann = settings.for_user("ann")
    assert ann.load_engine() is settings.load_engine()
    resolved = ann.personalizer.personalize(ann.resolve_user(settings.read_call({}).selection))
    assert [preference.text for preference in resolved.preferences] == ["Be brief."]
    assert settings.user_id is None


WRAPPERS = [ChatAmulet, AmuletLLM]
NONE = (
    "model",
    "dtype",
    "device",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "timeout",
)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_none_in_the_constructor_is_not_given(wrapper, tiny_engine, monkeypatch):
    monkeypatch.setenv("AMULET_DTYPE", "float32")
    given = dict.fromkeys(
        [*NONE, "seed", "min_p", "repetition_penalty", "method", "separator", "n"]
    )
    made, plain = wrapper(**given), wrapper()
    assert made.sampling == plain.sampling
    assert (made.source, made.source.dtype) == (plain.source, "float32")
    assert wrapper(engine=tiny_engine, max_tokens=None, max_new_tokens=5).max_tokens == 5
    assert wrapper(engine=tiny_engine, max_kl=None).max_kl is None
    with pytest.raises(UnknownArgumentError, match="temprature"):
        wrapper(temprature=None)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"device": torch.device("cpu")}, ("cpu", None)),
        ({"device": -1}, ("cpu", None)),
        ({"device_map": torch.device("cpu")}, ("auto", {"": "cpu"})),
        (
            {"device_map": {"model": torch.device("cpu"), "head": 0}},
            ("auto", {"model": "cpu", "head": "cuda:0"}),
        ),
    ],
    ids=str,
)
def test_devices_are_torchs_names_or_numbers(wrapper, given, expected):
    made = wrapper(**given, dtype=torch.float32)
    assert (made.device, made.device_map, made.dtype) == (*expected, "float32")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_cuda_device_may_be_a_number(wrapper):
    if torch.cuda.is_available():
        assert wrapper(device=0).device == "cuda:0"
        return
    with pytest.raises(InvalidRequestError, match="device='cuda:0' is not here"):
        wrapper(device=0)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_folder_is_loaded_once_however_it_is_written(wrapper, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    written = [
        folder,
        f"{folder}/",
        "models/tiny",
        Path("models/../models/tiny"),
        "~/models/tiny",
        Path("~/models/tiny"),
        "link",
    ]
    made = [wrapper(model=name) for name in written]
    called = [made[0].of_model(name) for name in written]
    monkeypatch.chdir("/")
    assert len({llm.load_engine() for llm in made + called}) == 1
    with pytest.raises(ModelNotFoundError, match="/models/nothere"):
        wrapper(model="~/models/nothere")


STORES = {
    "url": lambda place: f"sqlite:///{place}",
    "path": lambda place: place,
    "sql": SqlProfileStore,
    "cached": lambda place: CachedProfileStore(SqlProfileStore(place), ttl=5),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("kind", STORES)
def test_a_pickle_opens_its_database_again(wrapper, kind, tmp_path):
    with SqlProfileStore(tmp_path / "profiles.db") as store:
        store.save(PreferenceProfile(user_id="ann", preferences=["Be brief."]))
    llm = wrapper(profiles=STORES[kind](tmp_path / "profiles.db"))
    back = pickle.loads(pickle.dumps(llm))  # noqa: S301 - made here
    found = back.personalizer.personalize(PreferenceSelection(user_id="ann")).preferences
    assert [preference.text for preference in found] == ["Be brief."]


class Own(InMemoryProfileStore):
    """A store of somebody's own, with a connection in it."""

    def __reduce__(self):
        raise TypeError("cannot pickle a connection")


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("make", [InMemoryProfileStore, Own, lambda: SqlProfileStore(":memory:")])
@pytest.mark.parametrize("cached", [False, True])
def test_a_store_that_would_be_lost_is_not_pickled(wrapper, make, cached):
    store = CachedProfileStore(make()) if cached else make()
    llm = wrapper(profiles=store)
    for one in (llm, llm.for_user("ann"), [store] if make is not Own or cached else llm):
        with pytest.raises(ProfileStoreError, match=r"cannot be pickled.*give its URL"):
            pickle.dumps(one)
    for twin in (deepcopy(llm), llm.model_copy(deep=True), copy(llm), llm.model_copy()):
        assert twin.profiles is store


REBUILT = {
    "from its dump": lambda llm: type(llm)(**llm.model_dump()),
    "from its JSON": lambda llm: type(llm).model_validate_json(llm.model_dump_json()),
    "validated": lambda llm: type(llm).model_validate(llm.model_dump()),
    "from all its fields": lambda llm: type(llm)(
        **{name: getattr(llm, name) for name in type(llm).model_fields}
    ),
    "a copy": lambda llm: llm.model_copy(),
    "a deep copy": deepcopy,
    "pickled": lambda llm: pickle.loads(pickle.dumps(llm)),  # noqa: S301
}
SETTINGS = [
    {},
    {"stop": ["x"], "params": STRONG, "max_guidance_scale": 2e5, "max_kl": None, "seed": 3},
    {"preset": "strong", "preference_context": {"topic": "sea"}, "dtype": torch.float32},
    {"chat_template_kwargs": {"x": 1}, "quantization_config": {"load_in_4bit": True}},
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("way", REBUILT)
def test_a_model_that_is_rebuilt_is_the_same(wrapper, way):
    for settings in SETTINGS:
        llm = wrapper(**settings)
        for one in (llm, llm.plain()):
            made = REBUILT[way](one)
            assert made.model_dump() == one.model_dump()
            assert (made.source, made.sampling, made.pinned) == (
                one.source,
                one.sampling,
                one.pinned,
            )
