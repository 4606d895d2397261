"""A question and an answer as the token ids that a reward model reads."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from amulet_integrations.errors import EvaluationError
from amulet_integrations.prompting.control_tokens import ControlTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Row(NamedTuple):
    """What a reward model reads: token ids and, for pairs of texts, which text each is of."""

    ids: list[int]
    type_ids: list[int] | None = None


class RewardPrompts:
    """Writes what a reward model reads.

    Nothing that a question or an answer says is read as a control token: an answer that closes
    its own turn and praises itself in the next stays one answer.

    Args:
        tokenizer: The reward model's. Its chat template writes the two turns; one that has none
            reads a pair of texts.

    Attributes:
        form: How a question and an answer are put: by which template, or as a pair.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        template = tokenizer.chat_template
        self._is_chat = bool(template)
        source = tokenizer.get_chat_template() if self._is_chat else ""
        self._control_tokens = ControlTokens(tokenizer, source)
        digest = sha256(source.encode()).hexdigest()[:8]
        self.form = f"template {digest}" if self._is_chat else "pair"

    def row(self, question: str, answer: str) -> Row:
        """The token ids of a user turn and an assistant turn."""
        if not self._is_chat:
            read = self._tokenizer(question, answer, split_special_tokens=True)
            return Row(list(read["input_ids"]), read.get("token_type_ids"))
        escaper = self._control_tokens.escaper([question, answer])
        turns = [
            {"role": "user", "content": escaper.escape(question)},
            {"role": "assistant", "content": escaper.escape(answer)},
        ]
        try:
            rendered = self._tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception as error:  # templates raise whatever they like
            raise EvaluationError(
                "The chat template of the reward model refused a question and an answer: "
                f"{error}. Use a reward model for conversations."
            ) from error
        # Templates write the token that begins a text themselves.
        return Row(self._control_tokens.encode(escaper.unescape(str(rendered))))
