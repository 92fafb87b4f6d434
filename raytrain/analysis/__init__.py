"""What the results of a run mean.

The ranking and how sure it is, what early stopping cost, baselines from elsewhere.
"""
