"""MNIST read ahead: its images are inflated by threads while NumPy and the rest are imported.

zlib lets other threads run. `lenet5c.__main__` calls `begin`, the command hands what comes of it to
`lenet5c.datasets.idx`.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

FOLDER = Path(__file__).parents[1] / "datasets" / "mnist_data"
#: Bytes of each file of images after decompression.
SIZES = {
    FOLDER / "train-images-idx3-ubyte.gz": 16 + 60_000 * 28 * 28,
    FOLDER / "t10k-images-idx3-ubyte.gz": 16 + 10_000 * 28 * 28,
}
# Bytes inflated at a time: a thread may wait for milliseconds before it can ask for more.
_AT_ONCE = 1 << 22
#: The threads, by file.
_started: dict[Path, "Inflation"] = {}


class Inflation(Thread):
    """The decompression of a gzipped file to so many bytes."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(daemon=True)
        self.path, self.size = path, size
        self.content: bytearray | None = None

    def run(self) -> None:
        """Inflate the file; one that is unreadable or damaged is left to its reader."""
        content, filled = bytearray(self.size), 0
        inflater = zlib.decompressobj(wbits=31)
        try:
            rest = self.path.read_bytes()
            while not inflater.eof:
                piece = inflater.decompress(rest, _AT_ONCE)
                content[filled : filled + len(piece)] = piece
                filled, rest = filled + len(piece), inflater.unconsumed_tail
                if filled > self.size or not (piece or inflater.eof):
                    return
        except (OSError, zlib.error):
            return
        if filled == self.size and not inflater.unused_data:
            self.content = content

    def wait(self) -> bytearray | None:
        """Return the content once it is there; None if the file is damaged."""
        self.join()
        return self.content


def begin() -> None:
    """Start to inflate the images of MNIST."""
    for path, size in SIZES.items():
        _started[path] = Inflation(path, size)
        _started[path].start()


def claim() -> dict[Path, Callable[[], bytearray | None]]:
    """Return what `begin` has started, by file: functions that wait for the content."""
    return {path: _started.pop(path).wait for path in list(_started)}
