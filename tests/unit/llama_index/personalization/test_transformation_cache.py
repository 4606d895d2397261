"""LlamaIndex's cache of transformations, whose keys are made of what its parts serialise to."""

from __future__ import annotations

import json

import pytest
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode

from amulet_integrations import PreferenceProfile, preference_scope
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.unit.llama_index.support import ANN, BOB, store_of_two


class Echo(ScriptedEngine):
    """Answers with the name of the user whose preference the prompt has."""

    def _steps(self, request):
        prompts = "".join(map(self.tokenizer.decode, request.contexts))
        self._texts = ["ann" if ANN in prompts else "bob" if BOB in prompts else "nobody"]
        return super()._steps(request)


@pytest.fixture
def llm():
    return AmuletLLM(engine=Echo(), profiles=store_of_two())


def pipeline(llm):
    return IngestionPipeline(transformations=[SummaryExtractor(llm=llm, summaries=["self"])])


def summary(pipeline):
    (node,) = pipeline.run(nodes=[TextNode(text="The sea.", id_="1")])
    return node.metadata["section_summary"]


def test_one_users_answer_is_not_served_to_another_out_of_the_cache(llm):
    shared = pipeline(llm)
    for user_id in ("ann", "bob", "ann"):
        with preference_scope(user_id=user_id):
            assert summary(shared) == user_id
    assert summary(shared) == "nobody"
    assert len(llm.engine.requests) == 3


def test_copies_for_users_have_keys_of_their_own(llm):
    cache = pipeline(llm).cache
    for user_id in ("ann", "bob"):
        own = IngestionPipeline(
            transformations=[SummaryExtractor(llm=llm.for_user(user_id), summaries=["self"])],
            cache=cache,
        )
        assert summary(own) == user_id


def test_a_changed_profile_is_not_answered_out_of_the_cache(llm):
    shared = pipeline(llm)
    with preference_scope(user_id="ann"):
        assert summary(shared) == "ann"
        llm.profiles.save(PreferenceProfile(user_id="ann", preferences=[BOB]))
        assert summary(shared) == "bob"


def test_a_serialised_form_reveals_no_user_and_no_preference(llm):
    nobody = llm.to_dict()
    assert nobody["speaks_for"] is None
    with preference_scope(user_id="ann"):
        anns = json.dumps(llm.to_dict())
    assert "ann" not in anns
    assert ANN not in anns
    assert json.dumps(nobody) != anns


def test_a_serialised_form_with_a_digest_can_be_read(llm, tmp_path):
    form = AmuletLLM(preference=ANN, max_tokens=7).to_dict()
    assert form["speaks_for"]
    assert AmuletLLM.from_dict(form).max_tokens == 7


def test_a_user_who_cannot_be_looked_up_shares_no_form():
    llm = AmuletLLM(engine=ScriptedEngine())
    with preference_scope(user_id="ann"):
        assert llm.to_dict()["speaks_for"] != llm.to_dict()["speaks_for"]
