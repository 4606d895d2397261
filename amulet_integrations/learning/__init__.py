"""A user's preferences and their strength, estimated from accepted and rejected answers."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(__name__, __file__, extras={"scipy": "learning"})
