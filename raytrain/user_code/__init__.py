"""Code of the user's own: named in a recipe, identified by its source, kept as text, and imported from that text.

`reference` reads the names, `source` the files, `modules` imports them, `calls` reads and writes names with arguments.
"""
