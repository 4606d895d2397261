"""Decodes requests: contexts and weights in, tokens out. It knows no users and no frameworks."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(
    __name__, __file__, former_names={"Branch": "OutputAlternative"}
)
