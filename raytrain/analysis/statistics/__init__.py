"""Statistics of accuracies: intervals, tests and their power; the bootstrap; evidence that may be looked at often."""
