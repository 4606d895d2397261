"""`AmuletLLM` on the embedded model."""

from __future__ import annotations

import json

import pytest
from llama_index.core.base.llms.types import ChatMessage

from amulet_integrations import AmuletParams, preference_scope
from amulet_integrations.llama_index import AmuletLLM

pytestmark = pytest.mark.model


def test_an_instruct_model_answers(embedded_engine):
    llm = AmuletLLM(max_tokens=16)
    response = llm.complete("What is the capital of France?")
    assert "Paris" in response.text
    assert response.raw["finish_reason"] == "stop"
    assert json.loads(json.dumps(response.raw))["model"] == "embedded"
    assert llm.load_engine() is embedded_engine


async def test_a_preference_changes_the_answer(embedded_engine):
    llm = AmuletLLM(engine=embedded_engine, max_tokens=16, params=AmuletParams(iterations=2))
    question = [ChatMessage(role="user", content="What should I eat today?")]
    plain = llm.chat(question).message.content
    with preference_scope(preference="I am a vegan. Answer in one short sentence."):
        stream = await llm.astream_chat(question)
    steered = [response async for response in stream][-1]
    assert steered.message.content not in {plain, ""}
    assert steered.raw["amulet"]["guidance_scale"] == pytest.approx(2.46341, abs=1e-5)
