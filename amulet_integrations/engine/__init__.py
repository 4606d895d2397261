"""Decodes requests: contexts and weights in, tokens out. It knows no users and no frameworks."""

import lazy_loader

from amulet_integrations._renamed import with_former_names

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = with_former_names(__name__, _load, {"Branch": "OutputAlternative"})
