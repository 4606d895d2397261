"""Why an answer came out as it did: what its preferences made of each token."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
