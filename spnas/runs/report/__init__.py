"""A run as one page for a browser: report.html, which needs no other file and no network."""

from spnas.runs.report.page import write_report

__all__ = ["write_report"]
