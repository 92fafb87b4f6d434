"""Train, compare and tune image classifiers under Ray; imports nothing heavy."""

__version__ = "0.1.0"
