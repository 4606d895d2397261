"""`amulet profile`: what each user prefers, kept in a database."""

from amulet_integrations.cli.profile import changing, keeping, learning, moving, showing
from amulet_integrations.cli.profile.group import profile

__all__ = ["changing", "keeping", "learning", "moving", "profile", "showing"]
