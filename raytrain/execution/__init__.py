"""A run from start to end: its stages, its plan, and the backends on which its trials run."""
