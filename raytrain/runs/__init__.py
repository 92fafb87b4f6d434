"""The run folder: written by one process, read by all, resumed after an interruption."""
