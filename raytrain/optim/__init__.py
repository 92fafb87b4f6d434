"""Losses, optimizers, groups of parameters and learning-rate schedules."""
