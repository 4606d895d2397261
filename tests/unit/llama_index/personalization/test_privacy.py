"""What handlers of events, spans and callbacks receive, and what serialised forms contain."""

from __future__ import annotations

import copy
import pickle

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

from amulet_integrations import Preference, PreferenceProfile
from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.llama_index import AmuletLLM
from tests.unit.llama_index.recorders import SECRET
from tests.unit.llama_index.support import QUESTION, TOKENS, chat_messages, small_llm, store_of_two

PASSWORD = "hunter2"
CHAT = chat_messages(("user", QUESTION))


@pytest.mark.parametrize(
    "named",
    [
        {"preference": SECRET},
        {"preference": Preference(text=SECRET)},
        {"profile": PreferenceProfile(user_id="x", preferences=[SECRET])},
    ],
    ids=["text", "preference", "profile"],
)
@pytest.mark.parametrize("level", ["call", "constructor"])
async def test_no_handler_receives_a_preference_or_a_password(
    tiny_engine, watched, named, level, tmp_path
):
    events, spans, callbacks = watched
    llm = small_llm(
        tiny_engine,
        profiles=f"sqlite:///{tmp_path}/{PASSWORD}.db",
        callback_manager=CallbackManager([callbacks]),
        **(named if level == "constructor" else {}),
    )
    call = {**(named if level == "call" else {}), "temperature": 0.0}
    llm.complete(QUESTION, **call)
    list(llm.stream_complete(QUESTION, **call))
    llm.chat(CHAT, **call)
    list(llm.stream_chat(CHAT, **call))
    await llm.acomplete(QUESTION, **call)
    await llm.achat(CHAT, **call)
    assert [_ async for _ in await llm.astream_complete(QUESTION, **call)]
    assert [_ async for _ in await llm.astream_chat(CHAT, **call)]

    recorded = [repr(event) + event.model_dump_json() for event in events.seen]
    recorded += [repr(seen) for seen in callbacks.seen] + spans.recorded
    assert len(events.seen) > 16
    assert len(spans.recorded) == 8 * 5
    assert len(callbacks.seen) == 16
    assert not any(SECRET in text or PASSWORD in text for text in recorded)
    # What is no secret is recorded, so that traces stay useful.
    assert any("'temperature': 0.0" in text for text in spans.recorded)


def test_each_call_fires_each_event_once(tiny_engine, watched):
    events, spans, callbacks = watched
    llm = small_llm(tiny_engine, callback_manager=CallbackManager([callbacks]))
    llm.chat(CHAT, temperature=0.0)
    *_, last = llm.stream_complete(QUESTION)
    names = [type(event).__name__ for event in events.seen]
    assert names == [
        "LLMChatStartEvent",
        "LLMChatEndEvent",
        "LLMCompletionStartEvent",
        *["LLMCompletionInProgressEvent"] * TOKENS,
        "LLMCompletionEndEvent",
    ]
    assert events.seen[0].additional_kwargs == {"temperature": 0.0}
    assert events.seen[0].messages == CHAT
    assert events.seen[2].prompt == QUESTION
    assert events.seen[1].response.raw["finish_reason"] == "length"
    assert events.seen[-1].response == last
    assert [kind for kind, *_ in callbacks.seen] == ["start", "end"] * 2
    assert [text.partition("-")[0] for text in spans.recorded if text.startswith("AmuletLLM.")] == [
        "AmuletLLM.chat",
        "AmuletLLM.stream_complete",
    ]
    assert spans.arguments[0]["messages"] == CHAT


def test_tokens_are_counted_right(tiny_engine):
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = small_llm(tiny_engine, callback_manager=CallbackManager([counter]))
    usage = llm.chat(CHAT).raw["usage"]
    *_, last = llm.stream_complete(QUESTION)
    assert last.raw["usage"] == usage
    assert counter.prompt_llm_token_count == 2 * usage["prompt_tokens"]
    assert counter.completion_llm_token_count == 2 * TOKENS


def test_preference_texts_are_reported_where_requested(tiny_engine):
    llm = small_llm(tiny_engine, preference=SECRET, include_preference_text=True)
    assert llm.complete(QUESTION).raw["amulet"]["preferences"][0]["text"] == SECRET


@pytest.fixture
def private(tiny_engine):
    return small_llm(
        tiny_engine, preference=SECRET, profiles=f"postgresql://me:{PASSWORD}@host/db", top_k=7
    )


def test_serialised_forms_hold_neither_preferences_nor_passwords(private):
    profile = PreferenceProfile(user_id="x", preferences=[SECRET])
    for llm in (private, private.model_copy(update={"preference_profile": profile})):
        forms = [llm.to_dict(), llm.to_json(), llm.model_dump(), llm.model_dump_json()]
        forms += [repr(llm), str(llm), llm.to_payload()]
        assert not any(SECRET in str(form) or PASSWORD in str(form) for form in forms)
        assert private.to_dict()["class_name"] == "AmuletLLM"


def test_a_dict_gives_the_same_model_without_preferences(tiny_engine, private):
    for data in (private.to_dict(), private.for_user("ann").to_dict()):
        back = AmuletLLM.from_dict(data, engine=tiny_engine)
        assert (back.top_k, back.max_tokens) == (7, TOKENS)
        assert back.complete(QUESTION).raw["amulet"]["preferences"] == []
    assert AmuletLLM.from_json(private.to_json(), engine=tiny_engine).top_k == 7


def test_copies_share_the_engine(tiny_engine):
    llm = small_llm(tiny_engine, preference=SECRET)
    expected = llm.complete(QUESTION).text
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy(deep=True)):
        assert twin.engine is tiny_engine
        assert twin.complete(QUESTION).text == expected


def test_being_pickled_leaves_a_model_as_it_is():
    llm = AmuletLLM(profiles=store_of_two(), preference=SECRET)
    with pytest.raises(ProfileStoreError, match="cannot be pickled"):
        pickle.dumps(llm)
    assert llm.profiles.get("ann") is not None
    assert llm.for_user("ann").user_id == "ann"


def test_a_pickle_carries_no_engine(tiny_engine):
    llm = small_llm(tiny_engine, preference=SECRET, top_k=7)
    pickled = pickle.dumps(llm)
    assert len(pickled) < 10_000
    back = pickle.loads(pickled)  # noqa: S301 - made above
    assert (back.engine, back.top_k, back.preference) == (None, 7, SECRET)
    back.engine = tiny_engine
    assert back.complete(QUESTION).text == llm.complete(QUESTION).text


class Logging(AmuletLLM):
    """Overrides a method, as applications do."""

    def chat(self, messages, **kwargs):
        return super().chat(messages, **kwargs)


def test_the_methods_of_subclasses_are_in_no_span_that_records_preferences(tiny_engine, watched):
    _, spans, _ = watched
    Logging(engine=tiny_engine, max_tokens=TOKENS).chat(CHAT, preference=SECRET)
    assert [text.partition("-")[0] for text in spans.recorded if text.startswith("Logging.")] == [
        "Logging.chat"
    ]
    assert SECRET not in "".join(spans.recorded)
