"""Samplers that learn: what to try next, by what the trials before have reached."""
