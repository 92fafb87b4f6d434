"""The `raytrain` command: a package for each subject. A command reads options, calls one function and prints."""
