"""What a run looks like: in the terminal while it runs, as a table, as pictures, and as one HTML file."""

from raytrain.runs import REPORT

__all__ = ["REPORT"]
