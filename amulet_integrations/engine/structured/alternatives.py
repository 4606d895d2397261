"""A form that a completion may take: a grammar, and the weights that it is written with."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, FiniteFloat

from amulet_integrations.errors import AmuletError, InvalidRequestError
from amulet_integrations.validation import FrozenModel

Weights = tuple[FiniteFloat, ...]


class OutputAlternative(FrozenModel):
    """A form that a completion may take: calls of tools, a JSON text, or text of any kind.

    The engine sees to it that the grammar is satisfied: strings, arrays and objects are closed
    before `max_new_tokens` runs out, and stop strings do not end the text inside them.

    Attributes:
        grammar: A grammar of llguidance: Lark text, or the JSON that its `grammar_from_*`
            functions return.
        weights: The mixture of the contexts that this alternative is written with; None for the
            request's.
        string_weights: The mixture inside string values of JSON; None for `weights`.

    Raises:
        InvalidRequestError: A value of a wrong type, or an empty grammar.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidRequestError

    grammar: str = Field(min_length=1, repr=False)
    weights: Weights | None = None
    string_weights: Weights | None = None
