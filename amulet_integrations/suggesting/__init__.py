"""Candidates for preferences, from what a user wrote; the user confirms before any is stored."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(__name__, __file__)
