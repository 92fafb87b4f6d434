"""Commands about machines: clusters, jobs on them, and whether this machine can run trials."""
