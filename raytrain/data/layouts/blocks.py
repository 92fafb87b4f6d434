"""Encoded image files, of which a block is in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from raytrain.data.layouts.source_folder import READERS

FILES = 1024
"""Number of files after which a block ends."""
BYTES = 256 * 2**20
"""Bytes of files after which a block ends: 1,024 photos of a camera would take 10 GB before one is decoded."""


def read_ahead(read: Callable[[str], bytes], names: Iterable[str]) -> Iterator[bytes]:
    """Yield the contents of files in order, read by threads that are at most twice `READERS` files ahead.

    Args:
        read: Function that returns the content of the file of a name.
        names: Names of the files.
    """
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[Future[bytes]] = deque()
        for name in names:
            ahead.append(pool.submit(read, name))
            if len(ahead) == 2 * READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def in_blocks(contents: Iterable[bytes | None]) -> Iterator[list[bytes | None]]:
    """Yield encoded files in order, in blocks that end once they have `FILES` files or `BYTES` bytes.

    To hold one block only, drop it before the next one is asked for.

    Args:
        contents: The files; None for one that is missing.
    """
    block: list[bytes | None] = []
    held = 0
    for content in contents:
        block.append(content)
        held += len(content or b"")
        if len(block) == FILES or held >= BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block
