"""The wrappers on the embedded model: the published code's tokens, and `LocalEngine`'s answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from amulet_integrations.engine import LocalEngine, VLLMEngine
from amulet_integrations.langchain import ChatAmulet
from tests.support.golden import ALIGNED, SEQUENCES, amulet, linear_alignment, needs_golden

pytestmark = pytest.mark.model
PIRATE = "Answer like a friendly pirate."


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMEngine]:
    with VLLMEngine(
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=2048,
        max_num_seqs=40,
        max_num_batched_tokens=512,
    ) as engine:
        yield engine


@needs_golden
def test_golden_sequences(engine):
    requests = [amulet(s) for s in SEQUENCES] + [linear_alignment(s) for s in ALIGNED]
    written = [result.token_ids for result in engine.generate(requests)]
    assert written[: len(SEQUENCES)] == [s["amulet"] for s in SEQUENCES]
    assert written[len(SEQUENCES) :] == [s["linear_alignment_ratio2"] for s in ALIGNED]
    assert engine.generate(requests[:1])[0].token_ids == SEQUENCES[0]["amulet"]


class City(BaseModel):
    name: str
    country: str


def test_chat_answers_are_those_of_the_local_engine(engine):
    with LocalEngine.from_pretrained(dtype="float32") as local:
        for ask in (
            lambda chat: chat.invoke("What is the capital of France?", preference=PIRATE).text,
            lambda chat: "".join(part.text for part in chat.stream("Name a fruit.")),
            lambda chat: chat.with_structured_output(City).invoke("Paris", preference=PIRATE),
        ):
            answers = [ask(ChatAmulet(engine=each, max_tokens=40)) for each in (engine, local)]
            assert answers[0] == answers[1]
