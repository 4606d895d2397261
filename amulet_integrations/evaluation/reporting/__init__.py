"""The report of an evaluation: tables, plots and a page."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.evaluation.reporting.report import report_tables, write_report
    from amulet_integrations.evaluation.reporting.text_tables import TextTable, to_markdown

__all__ = ["TextTable", "report_tables", "to_markdown", "write_report"]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".report": ("report_tables", "write_report"),
        ".text_tables": ("TextTable", "to_markdown"),
    },
)
