"""The paper's experiments on any model: answers by every method, and measures of their quality."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
