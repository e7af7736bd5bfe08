"""MNIST read ahead: its images are inflated by threads while other modules are imported.

zlib lets other threads run. The command ``train`` calls `begin` before it imports NumPy.
"""

import zlib
from pathlib import Path
from threading import Thread

#: The folder of MNIST in the package.
MNIST = Path(__file__).parent / "datasets" / "mnist_data"
#: Bytes of each file of images after decompression.
SIZES = {
    MNIST / "train-images-idx3-ubyte.gz": 16 + 60_000 * 28 * 28,
    MNIST / "t10k-images-idx3-ubyte.gz": 16 + 10_000 * 28 * 28,
}
# Bytes inflated at a time: a thread may wait for milliseconds before it can ask for more.
_AT_ONCE = 1 << 22
_threads: dict[Path, Thread] = {}
_contents: dict[Path, bytearray] = {}


def begin() -> None:
    """Start to inflate the images of MNIST."""
    for path, size in SIZES.items():
        _threads[path] = Thread(target=_inflate, args=(path, size), daemon=True)
        _threads[path].start()


def take(path: Path) -> bytearray | None:
    """Return the inflated content of a file, once; None of one that was not begun, or is damaged.

    It is not held here any longer.
    """
    if (thread := _threads.pop(path, None)) is None:
        return None
    thread.join()
    return _contents.pop(path, None)


def _inflate(path: Path, size: int) -> None:
    """Inflate a file of this size; one that is unreadable or damaged is left to its reader."""
    content, filled = bytearray(size), 0
    inflater = zlib.decompressobj(wbits=31)
    try:
        rest = path.read_bytes()
        while not inflater.eof:
            piece = inflater.decompress(rest, _AT_ONCE)
            content[filled : filled + len(piece)] = piece
            filled, rest = filled + len(piece), inflater.unconsumed_tail
            if filled > size or not (piece or inflater.eof):
                return
    except (OSError, zlib.error):
        return
    if filled == size and not inflater.unused_data:
        _contents[path] = content
