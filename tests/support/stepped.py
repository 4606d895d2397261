"""A tiny engine that can be slowed down and made to fail."""

from __future__ import annotations

import threading
import time
from functools import wraps
from typing import Any

from amulet_integrations.engine import LocalEngine
from tests.support.tiny import tiny_model, tiny_tokenizer


class SteppedEngine:
    """A tiny engine whose forward passes wait and fail as the test wants.

    Args:
        rows: The room of the engine, in rows of the cache.

    Attributes:
        engine: The engine.
        pause: Seconds that each forward pass takes at least.
        passes: How many forward passes there have been.
        begun: Set once decoding is under way.
        error: Raised by forward passes while decoding is under way.
    """

    def __init__(self, rows: int = 1) -> None:
        model: Any = tiny_model()
        forward = model.forward

        @wraps(forward)  # the engine looks at its signature
        def watched(*args: Any, **options: Any) -> Any:
            self._before_a_pass()
            return forward(*args, **options)

        model.forward = watched
        self.pause, self.passes = 0.0, 0
        self.begun = threading.Event()
        self.error: Exception | None = None
        self.engine = LocalEngine(model, tiny_tokenizer(), model_name="tiny", max_rows=rows)

    def _before_a_pass(self) -> None:
        self.passes += 1
        if self.passes > 2:
            self.begun.set()
        time.sleep(self.pause)
        if self.error and self.passes > 2:
            raise self.error
