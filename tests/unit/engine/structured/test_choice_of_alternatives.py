"""Which weights write what: the decision, an alternative and its strings; slow decodes agree."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import dataclass

import pytest
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from tests.support.schemas import schema_grammar
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

END = 1
BASE, MIXED = (1.0, 0.0), (-3.0, 4.0)


@dataclass(frozen=True)
class Rule:
    """An alternative as two regular expressions: of all its beginnings, and of what is whole."""

    grammar: str
    beginning: str
    whole: str
    weights: tuple[float, ...]

    def allows(self, text: str, token: int, piece: str) -> bool:
        if token == END:
            return bool(re.fullmatch(self.whole, text))
        return bool(re.fullmatch(self.beginning, text + piece))

    @property
    def alternative(self) -> OutputAlternative:
        return OutputAlternative(grammar=self.grammar, weights=self.weights)


LETTERS = Rule("start: /[a-zA-Z ]+/", "[a-zA-Z ]+", "[a-zA-Z ]+", MIXED)
SIGNS = Rule("start: /[!-@]+/", "[!-@]+", "[!-@]+", (-1.0, 2.0))
# These two part only at their third token.
NAMES = Rule("start: /xx[a-w]+/", "x{1,2}|xx[a-w]*", "xx[a-w]+", MIXED)
CAPITALS = Rule("start: /xx[0-9A-Z!-.]+/", "x{1,2}|xx[0-9A-Z!-.]*", "xx[0-9A-Z!-.]+", BASE)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def pieces():
    tokenizer = tiny_tokenizer()
    return [tokenizer.decode([token]) for token in range(len(tokenizer))]


def random_contexts(seed):
    rng = random.Random(seed)
    return [[rng.randrange(2, VOCABULARY) for _ in range(rng.randint(2, 9))] for _ in range(2)]


def log_probabilities(model, contexts, completion):
    """Of each context by itself, without a cache, float64."""
    with torch.no_grad():
        logits = [model(torch.tensor([[*ids, *completion]])).logits[0, -1] for ids in contexts]
    return torch.stack(logits).double().log_softmax(-1)


def best(rows, weights, allowed):
    policy = torch.tensor(weights, dtype=torch.float64) @ rows
    return max(allowed, key=lambda token: float(policy[token]))


def slow_alternatives(model, pieces, contexts, rules, *, weights=BASE, tokens=12):
    """Greedy tokens by the letter: the request's weights decide, the alternative's write."""
    completion, text, possible = [], "", list(rules)

    def allowed():
        return [
            token
            for token, piece in enumerate(pieces)
            if any(rule.allows(text, token, piece) for rule in possible)
        ]

    while len(completion) < tokens and completion[-1:] != [END]:
        rows = log_probabilities(model, contexts, completion)
        if len(possible) > 1:
            token = best(rows, weights, allowed())
            possible = [rule for rule in possible if rule.allows(text, token, pieces[token])]
        if len(possible) == 1:
            token = best(rows, possible[0].weights, allowed())
        completion.append(token)
        text += "" if token == END else pieces[token]
    return completion


def deciding(contexts, rules, tokens=12, weights=BASE, **sampling):
    return GenerationRequest(
        contexts=contexts,
        weights=weights,
        alternatives=[rule.alternative for rule in rules],
        sampling=SamplingParams(max_new_tokens=tokens, **sampling),
    )


@pytest.mark.parametrize("rules", [(LETTERS, SIGNS), (SIGNS, LETTERS), (NAMES, CAPITALS)])
def test_the_request_decides_and_the_alternative_writes(tiny_engine, model, pieces, rules):
    cases = [random_contexts(seed) for seed in range(14)]
    results = tiny_engine.generate([deciding(contexts, rules) for contexts in cases])
    taken = set()
    for contexts, result in zip(cases, results, strict=True):
        expected = slow_alternatives(model, pieces, contexts, rules)
        assert result.token_ids == expected
        taken.add(re.fullmatch(rules[0].whole, result.text) is None)
    assert taken == {True, False}


def test_no_other_context_has_a_say_in_the_decision(tiny_engine):
    for seed in range(5):
        base, *_ = random_contexts(seed)
        others = [random_contexts(100 + number)[1] for number in range(8)]
        results = tiny_engine.generate(
            [deciding([base, other], (LETTERS, SIGNS)) for other in others]
        )
        assert len({result.text[0].isalpha() or result.text[0] == " " for result in results}) == 1
        assert len({result.text for result in results}) > 1


def test_drawn_decisions_have_the_probability_that_the_base_gives_them(tiny_engine, model, pieces):
    draws = 600
    for seed in range(3):
        contexts = random_contexts(seed)
        chances = log_probabilities(model, contexts, [])[0].exp().tolist()
        letters, signs = (
            sum(
                chances[token]
                for token, piece in enumerate(pieces)
                if rule.allows("", token, piece)
            )
            for rule in (LETTERS, SIGNS)
        )
        chance = letters / (letters + signs)
        results = tiny_engine.generate(
            [
                deciding(contexts, (LETTERS, SIGNS), tokens=1, temperature=1.0, seed=number)
                for number in range(draws)
            ]
        )
        counted = sum(bool(re.fullmatch(LETTERS.whole, result.text)) for result in results)
        assert abs(counted - draws * chance) < 4 * math.sqrt(draws * chance * (1 - chance)) + 1


WORDS = {
    "type": "object",
    "properties": {
        name: {"type": "string", "minLength": 1, "maxLength": 9} for name in ("one", "two")
    },
    "required": ["one", "two"],
    "additionalProperties": False,
}
INSIDE = re.compile(r'"(one|two)": "([^"\\]|\\.)*\\?')


def slow_strings(model, tokenizer, contexts, weights, string_weights):
    """Greedy JSON; whether a string is open is found out by reading all of it again."""
    reader = from_tokenizer(tokenizer, n_vocab=VOCABULARY, eos_token=END)
    completion: list[int] = []
    while True:
        matcher = LLMatcher(reader, schema_grammar(WORDS))
        assert matcher.consume_tokens(completion)
        if matcher.is_accepting():
            return completion
        text = tokenizer.decode(completion, clean_up_tokenization_spaces=False)
        inside = any(
            INSIDE.fullmatch(text[start:]) for start in range(len(text)) if text[start] == '"'
        )
        mask = matcher.compute_bitmask()
        allowed = [token for token in range(VOCABULARY) if mask[token // 8] >> token % 8 & 1]
        rows = log_probabilities(model, contexts, completion)
        completion.append(best(rows, string_weights if inside else weights, allowed))


def test_string_weights_write_what_stands_inside_string_values(tiny_engine, model):
    tokenizer = tiny_tokenizer()
    steered = []
    for seed in range(6):
        contexts = random_contexts(seed)
        request = GenerationRequest(
            contexts=contexts,
            weights=BASE,
            alternatives=[OutputAlternative(grammar=schema_grammar(WORDS), string_weights=MIXED)],
            sampling=SamplingParams(max_new_tokens=200),
        )
        (result,) = tiny_engine.generate([request])
        assert result.token_ids == slow_strings(model, tokenizer, contexts, BASE, MIXED)
        plain = slow_strings(model, tokenizer, contexts, BASE, BASE)
        steered.append(result.token_ids != plain)
        assert list(json.loads(result.text)) == ["one", "two"]
    assert any(steered)


@pytest.mark.parametrize(
    ("alternatives", "lengths"),
    [
        ([OutputAlternative(grammar="start: /a+/", weights=BASE)], (3,)),
        ([OutputAlternative(grammar="start: /a+/", weights=(0.0, 1.0))], (2,)),
        ([OutputAlternative(grammar="start: /a+/", weights=BASE, string_weights=MIXED)], (3, 2)),
        ([OutputAlternative(grammar="start: /a+/")], (3, 2)),
        ([LETTERS.alternative, SIGNS.alternative], (3, 2)),
        ([], (3, 2)),
    ],
)
def test_contexts_without_weight_anywhere_are_not_run(tiny_engine, alternatives, lengths):
    request = GenerationRequest(
        contexts=[[5, 6, 7], [8, 9]],
        weights=MIXED,
        alternatives=alternatives,
        sampling=SamplingParams(max_new_tokens=3),
    )
    (result,) = tiny_engine.generate([request])
    assert result.usage.context_tokens == lengths
    assert result.usage.prompt_tokens == 3


def test_a_lone_context_writes_what_it_would_write_beside_another(tiny_engine):
    alone = GenerationRequest(
        contexts=[[5, 6, 7]],
        alternatives=[OutputAlternative(grammar=schema_grammar(WORDS))],
        sampling=SamplingParams(max_new_tokens=60),
    )
    beside = GenerationRequest(
        contexts=[[5, 6, 7], [8, 9]],
        weights=BASE,
        alternatives=[OutputAlternative(grammar=schema_grammar(WORDS))],
        sampling=SamplingParams(max_new_tokens=60),
    )
    first, second = tiny_engine.generate([alone, beside])
    assert first == second


def test_one_request_may_follow_several_forms_at_once(model):
    """A form that others contain ends where it is whole, and the others may go on."""
    with LocalEngine(model, tiny_tokenizer()) as engine:
        alternatives = [
            OutputAlternative(grammar=f'start: "{word}"') for word in ("a", "ab", "abc")
        ]
        texts = set()
        for seed in range(30):
            request = GenerationRequest(
                contexts=[[5, 6]],
                alternatives=alternatives,
                sampling=SamplingParams(max_new_tokens=5, temperature=3.0, seed=seed),
            )
            (result,) = engine.generate([request])
            assert result.finish_reason == "stop"
            texts.add(result.text)
    assert texts == {"a", "ab", "abc"}
