"""The run folder: written by one process, read by all, resumed after an interruption."""

REPORT = "report.html"
"""Name of the HTML report in the run folder."""
