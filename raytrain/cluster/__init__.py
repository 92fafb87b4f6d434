"""Ray clusters and the jobs that run on them: check, start, submit, follow and fetch."""
