"""What a run looks like: in the terminal while it runs, as a table, as pictures, and as one HTML file."""

REPORT = "report.html"
"""Name of the HTML report in the run folder."""
