"""The pictures that the documents show: drawn from records, and the same bytes again from the same records."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


@contextmanager
def drawn(path: Path) -> "Iterator[Axes]":
    """Give the axes of a picture, and write it as SVG to `path` when they have been drawn on."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams |= {"svg.hashsalt": "raytrain", "font.size": 9}
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    yield axes
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
