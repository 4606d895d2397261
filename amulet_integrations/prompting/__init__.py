"""Turns a conversation and preferences into token ids of every context, and reads answers back.

Uses no framework, no store and no engine; importing it imports neither torch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
