"""A user's preferences and their strength, estimated from accepted and rejected answers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
