"""Where a run comes from: the command, the code, the versions, the machine and the data."""
