"""Decompression of MNIST in threads while NumPy and other modules are imported.

zlib releases the GIL. `lenet5c.__main__` calls `begin`, and the command passes the result to
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
# Bytes per call: a thread may wait for milliseconds before the next call.
_AT_ONCE = 1 << 22
#: Threads by file.
_started: dict[Path, "Inflation"] = {}


class Inflation(Thread):
    """Decompression of a gzipped file to a known size."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(daemon=True)
        self.path, self.size = path, size
        self.content: bytearray | None = None

    def run(self) -> None:
        """Decompress the file; errors are left to its reader."""
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
        """Wait for the content and return it; None if the file is damaged."""
        self.join()
        return self.content


def begin() -> None:
    """Start to decompress the images of MNIST."""
    for path, size in SIZES.items():
        _started[path] = Inflation(path, size)
        _started[path].start()


def claim() -> dict[Path, Callable[[], bytearray | None]]:
    """Return, by file, functions that wait for the content started by `begin`."""
    return {path: _started.pop(path).wait for path in list(_started)}
