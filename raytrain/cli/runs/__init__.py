"""Commands about runs that exist: their results and reports, what follows from them, their removal."""
