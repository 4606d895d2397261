"""The published code's own tokens, on the embedded model in float32."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.llms import ChatMessage as LlamaMessage

from amulet_integrations import AmuletParams
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.support.golden import (
    ALIGNED,
    SEQUENCES,
    amulet,
    linear_alignment,
    needs_golden,
    params_of,
)

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("all_cores"), needs_golden]

SOME = 4


# All of them are decoded in one batch below; the rest of those alone are long checks.
def some_at_once(sequences):
    return [
        pytest.param(
            sequence,
            id=str(sequence["index"]),
            marks=[] if place < SOME else [pytest.mark.acceptance],
        )
        for place, sequence in enumerate(sequences)
    ]


@pytest.mark.parametrize("sequence", some_at_once(SEQUENCES))
def test_alone(embedded_engine, sequence):
    assert embedded_engine.generate([amulet(sequence)])[0].token_ids == sequence["amulet"]


def test_all_in_one_batch(embedded_engine):
    results = embedded_engine.generate([amulet(sequence) for sequence in SEQUENCES])
    assert [result.token_ids for result in results] == [s["amulet"] for s in SEQUENCES]


def test_beside_another_method(embedded_engine):
    requests = [make(s) for s in ALIGNED for make in (amulet, linear_alignment)]
    results = [result.token_ids for result in embedded_engine.generate(requests)]
    assert results[::2] == [s["amulet"] for s in ALIGNED]
    assert results[1::2] == [s["linear_alignment_ratio2"] for s in ALIGNED]


@pytest.mark.parametrize("sequence", some_at_once(ALIGNED))
def test_linear_alignment_alone(embedded_engine, sequence):
    result = embedded_engine.generate([linear_alignment(sequence)])[0]
    assert result.token_ids == sequence["linear_alignment_ratio2"]


def asked(sequence, tokenizer) -> tuple[str, str, dict]:
    """System message, question and strength: the published ones by name, others unbounded."""
    whole = tokenizer.decode(sequence["base_ids"])
    system = whole.removeprefix("<|im_start|>system\n").partition("<|im_end|>")[0]
    strength = {"preset": "paper"}
    if (params := params_of(sequence)) != AmuletParams():
        strength = {"params": params, "max_kl": None}
    return system, sequence["question"], {"preference": sequence["preference"], **strength}


async def test_the_wrappers_write_the_same_with_the_papers_preset(embedded_engine):
    settings = {"engine": embedded_engine, "max_tokens": 20, "separator": ""}
    chat, llm = ChatAmulet(**settings), AmuletLLM(**settings)
    tokenizer = embedded_engine.tokenizer
    calls = [asked(sequence, tokenizer) for sequence in SEQUENCES]
    expected = [tokenizer.decode(it["amulet"], skip_special_tokens=True) for it in SEQUENCES]
    messages = await asyncio.gather(
        *(chat.ainvoke([("system", system), ("user", text)], **how) for system, text, how in calls)
    )
    assert [message.text for message in messages] == expected
    responses = await asyncio.gather(
        *(
            llm.achat(
                [LlamaMessage(role="system", content=system), LlamaMessage(content=text)], **how
            )
            for system, text, how in calls[:SOME]
        )
    )
    assert [response.message.content for response in responses] == expected[:SOME]
