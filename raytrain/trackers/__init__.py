"""Runs in the trackers that teams already have: MLflow, Weights & Biases, Trackio."""
