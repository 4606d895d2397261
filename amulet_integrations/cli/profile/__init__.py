"""`amulet profile`: what each user prefers, kept in a database."""

# Each of them adds its commands to the group.
from . import export_import, history_restore_erase, learn, set_add_remove, show_list_explain  # noqa: F401
from .group import profile as profile
