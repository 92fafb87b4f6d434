"""Results from elsewhere that stand beside a run's own: the shipped ones, and those that a user imports."""
