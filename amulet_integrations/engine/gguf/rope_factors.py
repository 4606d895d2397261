"""Models with two sets of rotary factors (longrope): one for short texts, one for long ones.

llama.cpp takes the long set in contexts whose cells are more than the window of the short one,
however short a text is. So a model here keeps to one set, whatever the size of its contexts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .gguf_header import read_header
from .split_files import part_files

_FACTORS = frozenset({"rope_factors_short.weight", "rope_factors_long.weight"})
_SHORT_WINDOW = "rope.scaling.original_context_length"


@dataclass(frozen=True)
class RopeFactors:
    """What a file says of its two sets.

    Attributes:
        key: The entry of the metadata with `short_window`.
        short_window: The most tokens of a text for which the short set is made.
    """

    key: str
    short_window: int

    @classmethod
    def of_file(cls, path: Path) -> RopeFactors | None:
        """Reads a model's file, the first of several. None where there are no such sets.

        Raises:
            ModelNotFoundError: A file is missing.
            UnsupportedModelError: A header cannot be read.
        """
        header = read_header(path)
        if not any(_FACTORS & read_header(part).tensors.keys() for part in part_files(header)):
            return None
        trained = header.of_model("context_length", 0)
        short_window = min(header.of_model(_SHORT_WINDOW, 0) or trained, trained)
        return cls(f"{header.architecture}.{_SHORT_WINDOW}", short_window)
