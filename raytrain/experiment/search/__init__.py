"""What a search tries: the values of a grid, points drawn from ranges, and what tpe proposes."""
