"""How long a run takes: simulated before it starts, and while it trains."""
