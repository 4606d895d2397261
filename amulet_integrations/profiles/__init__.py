"""The preferences of users, and the stores that keep them."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(
    __name__, __file__, former_names={"in_force": "active_preferences"}
)
