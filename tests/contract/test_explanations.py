"""Why an answer came out as it did: what both wrappers explain, and who gets to see it."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from llama_index.core import Document, SummaryIndex
from llama_index.core.instrumentation import get_dispatcher

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, preference_scope
from amulet_integrations.errors import GenerationError, InvalidParamsError, InvalidRequestError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model
from tests.support.wrappers import ASK, QUESTION, WRAPPERS, Answer, Ask, Turn, Wrapper, each
from tests.unit.llama_index.recorders import Events

TASTES = ["Be kind.", "Use short words."]
PROFILE = {"user_id": "ann", "preferences": TASTES}
TOKENS = 8
JSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "schema": {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]},
    },
}
ID = "explanation_id"

every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)
names, wrappers, ways = zip(*each("chats", "completions"), strict=True)
every_way = pytest.mark.parametrize(
    ("wrapper", "ask"), list(zip(wrappers, ways, strict=True)), ids=names
)


@pytest.fixture
def make(tiny_engine: Any) -> Callable[..., Any]:
    def make(wrapper: Wrapper, store: Any = None, **settings: Any) -> Any:
        return wrapper.make(engine=tiny_engine, max_tokens=TOKENS, profiles=store, **settings)

    return make


def as_reported(answer: Answer) -> Any:
    return SimpleNamespace(raw={"amulet": answer.applied})


@every_way
def test_every_way_of_asking_is_explained(make: Any, wrapper: Wrapper, ask: Ask) -> None:
    llm = make(wrapper)
    plain = ask(llm, ASK, profile=PROFILE)
    assert ID not in plain.applied
    answer = ask(llm, ASK, profile=PROFILE, explain=True)
    assert answer.text == plain.text
    told = llm.explanation_of(as_reported(answer))
    assert told == asyncio.run(llm.aexplanation_of(as_reported(answer)))
    assert (told.question, told.answer) == (QUESTION, answer.text)
    assert [it.text for it in told.preferences] == TASTES
    assert len(told.tokens) == answer.completion_tokens == TOKENS
    assert "".join(token.text for token in told.tokens).startswith(answer.text)
    assert (told.guidance_scale, told.max_kl) == (2.0, 0.1)
    assert {0.0 < token.kl_from_pref < 0.102 for token in told.tokens} == {True}
    assert told.bounded_tokens == answer.applied["bounded_tokens"] > 0
    mean = sum(token.guidance_scale for token in told.tokens) / TOKENS
    assert mean == pytest.approx(answer.applied["mean_guidance_scale"])


@every_wrapper
def test_the_strength_is_the_one_that_was_applied(make: Any, wrapper: Wrapper) -> None:
    ask = next(iter(wrapper.chats.values()))
    for weights in ([1.0], [1.0, 0.5], [1.0, -1.0], [-0.5]):
        preferences = [
            {"text": text, "weight": weight} for text, weight in zip(TASTES, weights, strict=False)
        ]
        for method, scale in (("amulet", 3.0), ("pref", 1.0)):
            llm = make(wrapper, explain=True, method=method, guidance_scale=3.0, max_kl=None)
            ask(llm, ASK, profile={"user_id": "ann", "preferences": preferences})
            told = llm.explanation_of()
            assert [token.guidance_scale for token in told.tokens] == pytest.approx(
                [scale] * TOKENS
            )
            assert told.bounded_tokens == 0
    llm = make(wrapper, explain=True)
    ask(llm, ASK)
    told = llm.explanation_of()
    for token in told.tokens:
        assert token.shift == pytest.approx(0.0, abs=1e-9)
        assert (token.guidance_scale, token.preference_shifts) == (0.0, ())


@every_wrapper
@pytest.mark.parametrize("scale", [-2.0, 0.5, 3.0])
@pytest.mark.parametrize("form", [{}, {"response_format": JSON}], ids=["text", "JSON"])
def test_the_bound_holds_back_as_many_tokens_as_the_answer_reports(
    make: Any, wrapper: Wrapper, scale: float, form: dict[str, Any]
) -> None:
    ask = next(iter(wrapper.chats.values()))
    llm = make(wrapper, explain=True, guidance_scale=scale, max_kl=0.01)
    answer = ask(llm, ASK, profile=PROFILE, max_tokens=24, **form)
    told = llm.explanation_of(as_reported(answer))
    assert told.bounded_tokens == answer.applied.get("bounded_tokens", 0)
    assert (told.bounded_tokens == 0) is bool(form)  # JSON is drawn from pref by design


@every_wrapper
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.5)], ids=["shared", "apart"])
def test_which_preference_moved_a_token(
    make: Any, tiny_engine: Any, wrapper: Wrapper, weights: tuple[float, ...]
) -> None:
    """The oracle: plain transformers on the prompts that calls with one preference have."""
    ask = next(iter(wrapper.chats.values()))
    asked = ScriptedEngine()
    for text in TASTES:
        ask(wrapper.make(engine=asked, profiles=None), ASK, preference=text)
    base, *alone = [asked.requests[0].contexts[0], *(it.contexts[1] for it in asked.requests)]
    llm = make(wrapper, explain=True)
    preferences = [{"text": it, "weight": w} for it, w in zip(TASTES, weights, strict=True)]
    ask(llm, ASK, profile={"user_id": "ann", "preferences": preferences})
    told = llm.explanation_of()
    ids = [token.policy.token_id for token in told.tokens]
    model = tiny_model()

    def scores(context: tuple[int, ...]) -> torch.Tensor:
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *ids]])).logits[0, len(context) - 1 : -1]
        return logits.double().log_softmax(-1)[range(len(ids)), ids]

    expected = torch.stack([scores(each) - scores(base) for each in alone], dim=-1)
    shifts = [token.preference_shifts for token in told.tokens]
    torch.testing.assert_close(torch.tensor(shifts).double(), expected, atol=2e-4, rtol=0)


def test_streams_sums_and_copies_lead_to_their_explanation(make: Any) -> None:
    llm = make(WRAPPERS[0])
    chunks = list(llm.stream(QUESTION, preference=TASTES[0], explain=True))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    told = llm.explanation_of(total)
    assert told == llm.explanation_of(chunks[-1]) == llm.explanation_of(total.model_copy())
    assert told.answer == total.text
    bound = llm.bind(explain=True, preference=TASTES[1])
    messages = bound.batch([QUESTION, "What is a lake?"])
    assert [llm.explanation_of(it).question for it in messages] == [QUESTION, "What is a lake?"]


@pytest.mark.parametrize("explain", ["in the call", "in the constructor"])
def test_no_cache_answers_a_call_that_is_explained(make: Any, explain: str) -> None:
    cache = InMemoryCache()
    always = explain == "in the constructor"
    cached, llm = (make(WRAPPERS[0], cache=cache, explain=it) for it in (False, always))
    wanted = {} if always else {"explain": True}
    plain = cached.invoke(QUESTION)
    kept = len(cache._cache)
    answers = [llm.invoke(QUESTION, **wanted), asyncio.run(llm.ainvoke(QUESTION, **wanted))]
    assert [llm.explanation_of(it).answer for it in answers] == [plain.text] * 2
    assert len(cache._cache) == kept == 1
    assert ID not in cached.invoke(QUESTION).response_metadata["amulet"]


def test_a_query_engine_leads_to_the_last_one(tiny_engine: Any) -> None:
    llm = AmuletLLM(engine=tiny_engine, profiles=None, max_tokens=TOKENS, explain=True)
    index = SummaryIndex.from_documents([Document(text="The sea is deep.")])
    response = index.as_query_engine(llm=llm).query("How deep?")
    told = llm.explanation_of()
    assert told.answer == str(response)
    assert "The sea is deep." in told.question
    assert "How deep?" in told.question


@every_wrapper
def test_the_last_one_is_that_of_the_user_who_is_named(make: Any, wrapper: Wrapper) -> None:
    profiles = [PreferenceProfile(user_id=it, preferences=TASTES[:1]) for it in ("ann", "bob")]
    llm = make(wrapper, explain=True, store=InMemoryProfileStore(profiles))
    ask = next(iter(wrapper.chats.values()))
    for user_id in ("ann", "bob"):
        ask(llm, [Turn("user", f"I am {user_id}.")], user_id=user_id)
    assert llm.explanation_of().question == "I am bob."
    with preference_scope(user_id="ann"):
        assert llm.explanation_of().question == "I am ann."
        assert asyncio.run(llm.aexplanation_of()).question == "I am ann."
        assert llm.explanation_of() is llm.explanation_of()
    with preference_scope(user_id="eve"), pytest.raises(InvalidRequestError):
        llm.explanation_of()


def test_an_engine_that_fails_later_is_an_error_of_ours(tiny_engine: Any) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_engine, name)

        def score(self, *_args: Any, **_options: Any) -> Any:
            raise RuntimeError("the device is gone")

    llm = ChatAmulet(engine=Failing(), profiles=None, max_tokens=TOKENS)
    message = llm.invoke(QUESTION, profile=PROFILE, explain=True)
    with pytest.raises(GenerationError, match="the device is gone"):
        llm.explanation_of(message)


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(repr((args, kwargs)))

    on_chat_model_start = on_llm_end = on_llm_start

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.seen.append(repr(kwargs))


def test_callbacks_and_traces_see_an_id_and_no_more(make: Any) -> None:
    llm, recorder = make(WRAPPERS[0]), Recorder()
    ask = {"profile": PROFILE, "explain": True, "config": {"callbacks": [recorder]}}
    message = llm.invoke(QUESTION, **ask)
    list(llm.stream(QUESTION, **ask))
    seen = [*recorder.seen, dumps(message), repr(message), message.model_dump_json()]
    events = Events(seen=[])
    get_dispatcher().add_event_handler(events)
    try:
        response = make(WRAPPERS[1]).complete(QUESTION, profile=PROFILE, explain=True)
    finally:
        get_dispatcher().event_handlers.remove(events)
    seen += [repr(event) for event in events.seen] + [repr(response), response.model_dump_json()]
    told = llm.explanation_of(message)
    seen.append(repr(told))
    assert len(seen) > 10
    for text in seen:
        assert not [secret for secret in (*TASTES, "kl_from", "top_logprobs") if secret in text]
    assert json.loads(json.dumps(told.to_dict()))["preferences"][0]["text"] == TASTES[0]
    elsewhere = pickle.loads(pickle.dumps(ChatAmulet(profiles=None)))  # noqa: S301
    with pytest.raises(InvalidRequestError, match="not kept any more"):
        elsewhere.explanation_of(message)


@every_wrapper
def test_what_has_no_explanation_is_said(make: Any, wrapper: Wrapper) -> None:
    llm = make(wrapper)
    ask = next(iter(wrapper.chats.values()))
    with pytest.raises(InvalidRequestError, match="call the model with explain=True"):
        llm.explanation_of()
    with pytest.raises(InvalidRequestError, match="call the model with explain=True"):
        llm.explanation_of(as_reported(ask(llm, ASK)))
    first = ask(llm, ASK, explain=True, max_tokens=1)
    for _ in range(32):
        ask(llm, ASK, explain=True, max_tokens=1)
    with pytest.raises(InvalidRequestError, match="not kept any more: the last 32 are"):
        llm.explanation_of(as_reported(first))


@every_way
def test_bad_input_is_refused(make: Any, wrapper: Wrapper, ask: Ask) -> None:
    with pytest.raises(InvalidParamsError, match="explain='yes': give True or False"):
        ask(make(wrapper), ASK, explain="yes")
    llm = wrapper.make(engine=ScriptedEngine(), profiles=None)
    with pytest.raises(InvalidRequestError, match="ScriptedEngine cannot explain its answers"):
        ask(llm, ASK, explain=True)


def test_a_constructor_refuses_what_is_no_bool() -> None:
    with pytest.raises(InvalidParamsError, match="explain"):
        ChatAmulet(explain=1)
