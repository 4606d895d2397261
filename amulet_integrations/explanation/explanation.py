"""Why an answer came out as it did: as a page, and in notebooks."""

from __future__ import annotations

from pathlib import Path

from amulet_integrations.errors import InvalidRequestError
from amulet_integrations.files import save_file

from .explained_tokens import ExplanationData


class Explanation(ExplanationData):
    """An answer with what made it so, token by token.

    It holds the texts of the question, the answer and the preferences, which are private: its
    `repr` shows none of them.

    Attributes:
        question: What the user wrote last.
        answer: The whole answer, without special tokens.
        tokens: Its tokens.
        preferences: The preferences that were active.
        model_name: The model.
        method: The method that it was decoded with.
        guidance_scale: The strength that was asked for: 0 is base, 1 is pref.
        max_kl: The bound, in nats, on each token's divergence from pref; None for none.
        left_out: Preferences that a gate left out, for the question has nothing to do with them.
    """

    def to_html(self) -> str:
        """The explanation as one HTML page, the private texts included.

        The page needs neither a network nor a file beside it, and obeys no text that it shows.
        """
        from .page import render_page  # noqa: PLC0415 - only now is a template engine needed

        return render_page(self)

    def save_html(self, path: str | Path) -> Path:
        """Writes the page of `to_html` into a file.

        Args:
            path: The file; it is replaced at once if it exists.

        Returns:
            The path.

        Raises:
            InvalidRequestError: The path names a folder, or a file in a folder that does not exist.
            OSError: The file cannot be written.
        """
        return save_file(path, self.to_html().encode(), InvalidRequestError)

    def _repr_html_(self) -> str:
        """What a notebook shows, the private texts included."""
        from .notebook import render_fragment  # noqa: PLC0415 - only in notebooks

        return render_fragment(self)
