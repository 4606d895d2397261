from .report import report_tables as report_tables
from .report import write_report as write_report
from .text_tables import TextTable as TextTable
from .text_tables import to_markdown as to_markdown
