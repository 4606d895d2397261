"""Explanations of made-up figures, and texts that pages and terminals may take for their own."""

from __future__ import annotations

import itertools
import math
import random
import zlib

from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.explanation.explained_tokens import ExplainedToken
from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.profiles import Preference
from tests.support.hostile.characters import CHARACTERS, UNENCODABLE

MARKUP = (
    *("<script>document.title='obeyed'</script>", "</script>", "<!--", "-->", "]]>", "</span>"),
    *("<img src=x onerror=\"document.title='obeyed'\">", "\"'`&<>", "&lt;", "&#60;", "{{ 7 * 7 }}"),
    *("{% raw %}", "**bold** _it_ `code`", "# head", "[link](http://x)", "[bold red]x[/]"),
    *(":smile:", "\\u003cscript>", "</style><b>", "' onfocus='document.title=1", "$(x)", "a  b"),
)
HOSTILE = (*MARKUP, *itertools.chain(*CHARACTERS.values(), *UNENCODABLE.values()))
WRITTEN = tuple(text for text in MARKUP if text.strip())  # what preferences may hold


def logprob(token_id: int, token: str, value: float, top: tuple[str, ...] = ()) -> TokenLogprob:
    alternatives = tuple(
        TokenLogprob(zlib.crc32(text.encode("utf-8", "surrogatepass")), text, -1.0 - at)
        for at, text in enumerate(top)
    )
    return TokenLogprob(token_id, token, value, alternatives)


def token(text: str, token_id: int = 0, *, shift: float = 0.0, **changes: object) -> ExplainedToken:
    base = -5.0 if math.isfinite(shift) else (0.0 if shift < 0 else -math.inf)
    policy = base + shift if math.isfinite(shift) else (-math.inf if shift < 0 else -1.0)
    values = {
        "base": logprob(token_id, text, base, ("one", " two")),
        "pref": logprob(token_id, text, -4.0, (" two", "three\n")),
        "policy": logprob(token_id, text, policy, (" two",)),
        "kl_from_base": 1.25,
        "kl_from_pref": 0.5,
        "guidance_scale": 2.0,
    }
    return ExplainedToken(text=text, **{**values, **changes})


def explanation(*tokens: ExplainedToken, **changes: object) -> Explanation:
    values = {
        "question": "How do I make tea?",
        "answer": "".join(token.text for token in tokens),
        "preferences": (Preference(text="Be brief.", name="brief"),),
        "model_name": "a model",
        "method": "amulet",
        "guidance_scale": 2.0,
    }
    return Explanation(tokens=tokens, **{**values, **changes})


def random_explanation(count: int) -> Explanation:
    """Tokens with all kinds of figures, and two preferences of which one is steered away from."""
    draw = random.Random(count)
    tokens = [
        token(
            draw.choice([" tea", "a", "\n", " ", "", "  "]),
            at,
            shift=draw.choice([draw.gauss(0, 3), 0.0, math.inf, -math.inf]),
            kl_from_base=draw.choice([draw.random(), math.inf]),
            kl_from_pref=draw.random() / 3,
            guidance_scale=draw.choice([0.0, 1.0, 1.5 + draw.random(), 3.0]),
            preference_shifts=(draw.gauss(0, 1), draw.choice([draw.gauss(0, 1), math.inf])),
        )
        for at in range(count)
    ]
    preferences = (Preference(text="Be brief."), Preference(text="Use lists.", weight=-0.5))
    return explanation(*tokens, preferences=preferences, guidance_scale=3.0, max_kl=0.3)


def hostile_explanation() -> Explanation:
    """Every hostile text as a token, as an alternative, in the question, model and preferences."""
    tokens = [
        token(
            text,
            at,
            shift=at % 9 - 4.0,
            base=logprob(at, text, -5.0, (text, f" {text}")),
            policy=logprob(at, text, at % 9 - 9.0, (text,)),
            preference_shifts=tuple(float(it) for it in range(len(WRITTEN))),
        )
        for at, text in enumerate(HOSTILE)
    ]
    return explanation(
        *tokens,
        question="\n".join(HOSTILE),
        model_name=" ".join(HOSTILE),
        preferences=tuple(Preference(text=text, name=text) for text in WRITTEN),
    )
