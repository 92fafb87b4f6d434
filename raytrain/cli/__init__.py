"""The `raytrain` command: one module for each group of commands. It reads options, calls one function and prints."""
