"""Trials on Ray: Tune schedules them and Train's TorchTrainer trains them.

`cluster` is the only other package that imports Ray.
"""
