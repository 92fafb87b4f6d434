"""The architectures, by name."""
