"""Runs beside each other: the difference between two, whether a candidate beats a base, and whether a rerun agrees."""
