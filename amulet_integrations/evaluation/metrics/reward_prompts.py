"""Writes a question and an answer as the token ids that a reward model reads."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from amulet_integrations.errors import EvaluationError
from amulet_integrations.prompting.prompt_tokenizer import PromptTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RewardInput(NamedTuple):
    """The token ids of an input and, for pairs of texts, which text each token belongs to."""

    ids: list[int]
    type_ids: list[int] | None = None


class RewardPrompts:
    """Writes the inputs of a reward model.

    No text in a question or an answer becomes a control token: an answer that closes its own turn
    and praises itself in the next one remains a single answer.

    Args:
        tokenizer: The tokenizer of the reward model. Its chat template writes the two turns. If
            it has none, question and answer are a pair of texts.

    Attributes:
        form: A label for the form of the input: "template" and a digest of it, or "pair".
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._is_chat = bool(tokenizer.chat_template)
        source = tokenizer.get_chat_template() if self._is_chat else ""
        self._prompt_tokenizer = PromptTokenizer(tokenizer, source)
        digest = sha256(source.encode()).hexdigest()[:8]
        self.form: str = f"template {digest}" if self._is_chat else "pair"

    def encode(self, question: str, answer: str) -> RewardInput:
        """Returns the token ids of a user turn and an assistant turn."""
        if not self._is_chat:
            pair = self._tokenizer(question, answer, split_special_tokens=True)
            return RewardInput(list(pair["input_ids"]), pair.get("token_type_ids"))
        escaper = self._prompt_tokenizer.escaper([question, answer])
        turns = [
            {"role": "user", "content": escaper.escape(question)},
            {"role": "assistant", "content": escaper.escape(answer)},
        ]
        try:
            rendered = self._tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception as error:  # a template may raise anything
            raise EvaluationError(
                "The chat template of the reward model refused a question and an answer: "
                f"{error}. Use a reward model for conversations."
            ) from error
        # The template itself writes the token that begins a text.
        return RewardInput(self._prompt_tokenizer.encode(escaper.unescape(str(rendered))))
