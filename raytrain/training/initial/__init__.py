"""Weights that a network starts from: where they come from, and their copies in the run folder that trials read."""
