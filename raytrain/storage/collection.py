"""Python's search for cycles of garbage, left out while much is read that stays."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Generator[None]:
    """Have Python look for no cycles of garbage within the context: it would look through all that has been read.

    What no cycle holds is freed as ever.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
