"""Data sets as uint8 arrays: sources by name, path or URI, and the fixed split into train, val and test.

`raytrain.data.batches`, which puts them on the device, is left out here because it imports torch.
"""

from raytrain.data.cache import data_home
from raytrain.data.images import ImageDataset, LabelledImages, Splits
from raytrain.data.named import DATASETS
from raytrain.data.sources import PixelsError, advised_where_gone, is_here, load, read, refuse, refuse_missing
from raytrain.data.split import split

__all__ = [
    "DATASETS",
    "ImageDataset",
    "LabelledImages",
    "PixelsError",
    "Splits",
    "advised_where_gone",
    "data_home",
    "is_here",
    "load",
    "read",
    "refuse",
    "refuse_missing",
    "split",
]
