"""Commands about an experiment: train, compare, tune, resume, plan; new files, and the fields that a recipe has."""
