"""A run as people read it: the ranked table, and the live one while it runs."""
