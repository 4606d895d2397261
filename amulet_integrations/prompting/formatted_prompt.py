"""The contexts of a prompt that the caller has formatted, with control tokens and all."""

from __future__ import annotations

from collections.abc import Sequence

from .escaping import PromptText
from .length_bound import check_length
from .messages import check_preference, check_prompt
from .prepared_prompt import check_tokens_differ
from .prompt_template import PromptTemplate


def formatted_contexts(
    prompt: str, preference_texts: Sequence[str | None], template: PromptTemplate
) -> list[list[int]]:
    """Token ids of a formatted prompt under each preference; see `PromptBuilder`."""
    check_prompt(prompt)
    for preference in preference_texts:
        check_preference(preference)
    window, tokenizer = template.context_window, template.tokenizer
    if window is not None:
        for given in filter(None, (prompt, *preference_texts)):
            check_length("prompt", [given], window, tokenizer.count)
    leading = tokenizer.leading_ids
    # If the caller wrote the BOS token, it still comes once, in front of the preference.
    prompt = prompt.removeprefix(tokenizer.leading_text)
    contexts = []
    for preference in preference_texts:
        front = "" if preference is None else preference + template.separator
        text = PromptText(front + prompt, b"\1" * len(front) + bytes(len(prompt)))
        contexts.append(leading + tokenizer.encode(text))
    check_tokens_differ(contexts, preference_texts)
    return contexts
