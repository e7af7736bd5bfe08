"""Arrays next to protected pages: an access one element too far is a fault.

Each array has its own pages between two protected ones. The side that is not at a protected page is
filled with a pattern that reveals writes.
"""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
AREA = 1 << 20  # bytes between two forbidden pages
WATCHED = 64
PATTERN = 0xA5
LAYOUTS = (
    "contiguous",
    "contiguous",
    "contiguous",
    "strided",
    "reversed",
    "permuted",
    "misaligned",
)


class GuardedMemory:
    """Areas between protected pages, reused for each case.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws layouts and which end an array lies at.
    """

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.areas: list[int] = []
        self.watched: list[np.ndarray] = []
        self.used = 0

    def begin(self, rng: np.random.Generator) -> None:
        """Release all areas for a new case with the random generator `rng`."""
        self.rng, self.used, self.watched = rng, 0, []

    def check(self) -> None:
        """Raise AssertionError if anything was written outside an array."""
        for place in self.watched:
            assert (place == PATTERN).all(), "memory beside an array was written to"

    def put(self, array: np.ndarray, layouts: tuple[str, ...] = LAYOUTS) -> np.ndarray:
        """Return a read-only copy of an input, in a random layout."""
        copy = self.empty(array.shape, array.dtype, layouts)
        copy[...] = array
        copy.flags.writeable = False
        return copy

    def empty(
        self, shape: tuple[int, ...], dtype: object, layouts: tuple[str, ...] = LAYOUTS
    ) -> np.ndarray:
        """Return an array for a result, filled with bytes 0xff: NaN or -1."""
        dtype = np.dtype(dtype)
        layout = str(self.rng.choice(layouts)) if 0 not in shape and shape else "contiguous"
        axes = self.rng.permutation(len(shape))
        stored = list(shape)
        if layout == "permuted":
            stored = [shape[axis] for axis in axes]
        elif layout == "strided":
            stored[-1] = 2 * stored[-1] - 1
        size = int(np.prod(stored, dtype=np.int64)) * dtype.itemsize
        flat = self._bytes(size, int(self.rng.integers(1, 4)) if layout == "misaligned" else 0)
        array = np.frombuffer(flat, dtype).reshape(stored) if size else np.empty(stored, dtype)
        if layout == "permuted":
            return array.transpose(np.argsort(axes))
        if layout == "strided":
            return array[..., ::2]
        if layout == "reversed":
            return array[
                tuple(slice(None, None, step) for step in self.rng.choice((-1, 1), len(shape)))
            ]
        return array

    def scratch(self, size: int) -> int:
        """Return the address of so many bytes, at any address."""
        return ctypes.addressof(self._bytes(size, int(self.rng.integers(4))))

    def _bytes(self, size: int, shift: int) -> ctypes.Array:
        """Return bytes at either end of an area, `shift` away from it."""
        if size + shift + WATCHED > AREA:
            return (ctypes.c_ubyte * size)()
        start, at_end = self._area(), bool(self.rng.integers(4))
        at = start + (AREA - size - shift if at_end else shift)
        beside = at - WATCHED if at_end else at + size
        watched = np.frombuffer((ctypes.c_ubyte * WATCHED).from_address(beside), np.uint8)
        ctypes.memset(beside, PATTERN, WATCHED)
        ctypes.memset(at, 0xFF, size)
        self.watched.append(watched)
        return (ctypes.c_ubyte * size).from_address(at)

    def _area(self) -> int:
        if self.used == len(self.areas):
            self.areas.append(_map_area())
        self.used += 1
        return self.areas[self.used - 1]


def _map_area() -> int:
    """Return the address of an area, between two pages that cannot be touched."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = libc.mmap(None, AREA + 2 * PAGE, 0, flags, -1, 0)
    if start in (None, ctypes.c_void_p(-1).value):
        raise MemoryError("no memory for an area between guard pages")
    if libc.mprotect(start + PAGE, AREA, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), "mprotect")
    return start + PAGE
