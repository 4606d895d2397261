"""`amulet profile`: what each user prefers, kept in a database."""

# Each of them adds its commands to the group.
from . import (  # noqa: F401
    export_import,
    history_restore_erase,
    learn,
    set_add_remove,
    show_list_explain,
    suggest,
)
from .group import profile as profile
