"""What an evaluation found, as tables, plots and a page."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.evaluation.reporting.report import write_report

__all__ = ["write_report"]
__getattr__, __dir__ = lazy_exports(__name__, {".report": ("write_report",)})
