"""The bars that transformers and huggingface_hub draw while a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging


@contextmanager
def only_watched_bars(*, is_quick: bool = False) -> Iterator[None]:
    """Draws no bars inside where nobody watches: neither on a terminal nor in a notebook.

    Afterwards the bars of transformers and huggingface_hub are as they were. Where the environment
    variable HF_HUB_DISABLE_PROGRESS_BARS asks for bars, they are drawn.

    Args:
        is_quick: Whether what is done inside takes a moment: then no bars are drawn at all.
    """
    wanted = constants.HF_HUB_DISABLE_PROGRESS_BARS is False
    worth_it = _is_watched() and not is_quick
    if wanted or worth_it or not logging.is_progress_bar_enabled():
        yield
        return
    hub_bars = not are_progress_bars_disabled()
    logging.disable_progress_bar()  # those of huggingface_hub, too
    try:
        yield
    finally:
        logging.enable_progress_bar()
        if not hub_bars:
            disable_progress_bars()


def _is_watched() -> bool:
    # A notebook's streams are no terminals.
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())
