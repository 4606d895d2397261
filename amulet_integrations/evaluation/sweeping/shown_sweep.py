"""The result of a sweep: as a page, a plot, and in notebooks."""

from __future__ import annotations

import os
from pathlib import Path

from amulet_integrations.errors import EvaluationError
from amulet_integrations.files import save_file

from .strength_sweep import SweepData


class Sweep(SweepData):
    """The same questions at several strengths, with what was measured of each answer.

    It holds the texts of questions, answers and preferences: its `repr` shows none of them. In a
    notebook it shows itself as a page.

    Attributes:
        evaluation: The answers with their scores. The strengths are its methods.
        allowance: How far `pref_nll` may rise at the recommended strength, in nats per token.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """

    def to_html(self) -> str:
        """The sweep as one HTML page without a script or a network."""
        from .sweep_page import render_sweep  # noqa: PLC0415 - jinja2 is read only for pages

        return render_sweep(self)

    def _repr_html_(self) -> str:
        from .sweep_page import render_fragment  # noqa: PLC0415

        return render_fragment(self)

    def to_png(self) -> bytes:
        """The scores by strength, as a PNG.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from .sweep_plot import sweep_plot  # noqa: PLC0415

        return sweep_plot(self)

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes the page to a file, whose folder exists.

        Returns:
            The file.

        Raises:
            EvaluationError: It cannot be written.
        """
        return _save(path, self.to_html().encode(errors="replace"))

    def save_plot(self, path: str | os.PathLike[str]) -> Path:
        """Writes the PNG to a file, whose folder exists.

        Returns:
            The file.

        Raises:
            EvaluationError: It cannot be written.
            MissingDependencyError: matplotlib is not installed.
        """
        return _save(path, self.to_png())


def _save(path: str | os.PathLike[str], content: bytes) -> Path:
    try:
        return save_file(path, content, EvaluationError)
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be written: {error.strerror}. Choose another file."
        ) from error
