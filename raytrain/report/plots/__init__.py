"""Figures of a run for papers and slides, one in a file: `raytrain plot`."""

from enum import StrEnum


class Kind(StrEnum):
    """What a figure shows."""

    val_accuracy = "val-accuracy"
    test_accuracy = "test-accuracy"
    train_accuracy = "train-accuracy"
    val_loss = "val-loss"
    test_loss = "test-loss"
    train_loss = "train-loss"
    lr = "lr"
    seconds = "seconds"
    parameters = "parameters"
    heat_map = "heat-map"
    effects = "effects"
    parallel = "parallel"
    confusion = "confusion"
    reliability = "reliability"
