"""The bars that transformers and huggingface_hub draw while a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import progress_bar_states
from transformers.utils import logging

from amulet_integrations.concurrency.fork_safe import ForkSafeLock


@contextmanager
def only_watched_bars(*, is_quick: bool = False) -> Iterator[None]:
    """Draws no bars inside where nobody watches: neither on a terminal nor in a notebook.

    Afterwards the bars of transformers and huggingface_hub are as they were. Where the environment
    variable HF_HUB_DISABLE_PROGRESS_BARS asks for bars, they are drawn. The bar over the tensors of
    a GGUF file, which transformers draws in any case, is drawn with the others or not at all.

    The bars are settings of the process: as long as one thread is inside, they hold for all.

    Args:
        is_quick: Whether what is done inside takes a moment: then no bars are drawn at all.
    """
    wanted = constants.HF_HUB_DISABLE_PROGRESS_BARS is False
    with ExitStack() as stack:
        stack.enter_context(_GGUF_BAR_BY_THE_SWITCH.held())
        if not wanted and (is_quick or not _is_watched()):
            stack.enter_context(_NO_BARS.held())
        yield


class _SharedChange:
    """A change of the process: the first thread makes it, and the last one takes it back.

    Args:
        make: Makes the change; returns what takes it back.
    """

    def __init__(self, make: Callable[[], Callable[[], None]]) -> None:
        self._make = make
        self._lock = ForkSafeLock()
        self._holders = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lets the change hold inside."""
        with self._lock:
            if self._holders == 0:
                self._take_back = self._make()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._take_back()


def _switch_bars_off() -> Callable[[], None]:
    enabled, of_hub = logging.is_progress_bar_enabled(), dict(progress_bar_states)
    logging.disable_progress_bar()  # those of huggingface_hub, too

    def switch_back() -> None:
        if enabled:
            logging.enable_progress_bar()
        progress_bar_states.clear()
        progress_bar_states.update(of_hub)

    return switch_back


def _let_gguf_bar_obey() -> Callable[[], None]:
    """Has the reader of GGUF files draw its bar by the switch of transformers, as all the rest."""
    try:
        reader: Any = import_module("transformers.modeling_gguf_pytorch_utils")
        before = reader.tqdm
    except (ImportError, AttributeError):  # another version of transformers
        return lambda: None
    reader.tqdm = logging.tqdm

    def put_back() -> None:
        reader.tqdm = before

    return put_back


_NO_BARS = _SharedChange(_switch_bars_off)
_GGUF_BAR_BY_THE_SWITCH = _SharedChange(_let_gguf_bar_obey)


def _is_watched() -> bool:
    # A notebook's streams are no terminals.
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())
