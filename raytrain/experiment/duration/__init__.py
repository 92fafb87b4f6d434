"""How long trials take: their speed, the order in which they start, and the simulation of a whole run."""
