"""A trained model: taken out of its run, written to a file, and applied to images."""
