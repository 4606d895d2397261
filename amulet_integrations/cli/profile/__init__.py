"""`amulet profile`: what each user prefers, kept in a database."""

from . import export_import, history_restore_erase, learn, set_add_remove, show_list_explain
from .group import profile

__all__ = [
    "export_import",
    "history_restore_erase",
    "learn",
    "profile",
    "set_add_remove",
    "show_list_explain",
]
