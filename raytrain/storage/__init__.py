"""Folders on disk or in object storage, and files that stay readable after a kill."""
