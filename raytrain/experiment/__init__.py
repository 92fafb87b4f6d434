"""What an experiment file says, and the trials that follow from it.

The grid, ASHA, their order and how long they take.
"""
