"""Small grey PNG files, by the standard library alone."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 1 << 20  # bytes of a file


def encoded(image):
    """A grey image, uint8 (h, w), as the bytes of a PNG file.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.demo.png import decoded, encoded
    >>> image = np.array([[0, 7], [255, 9], [1, 2]], np.uint8)
    >>> bool((decoded(encoded(image), (3, 2)) == image).all())
    True
    """
    height, width = image.shape
    lines = np.zeros((height, width + 1), np.uint8)  # a line begins with its filter: 0, none
    lines[:, 1:] = image
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def decoded(content, shape):
    """The grey image (h, w) in the bytes of a PNG file, of this shape.

    Raises
    ------
    ValueError
        It is no PNG file, damaged, or not of 8-bit grey levels in this shape.
    """
    if not content.startswith(SIGNATURE):
        raise ValueError("is no PNG file")
    height, width = shape
    data, at, header = b"", len(SIGNATURE), None
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        end = at + 12 + length
        if end > len(content) or content[at:end] != _chunk(kind, body):
            raise ValueError("is damaged")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            data += body
        at = end
    if header != struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0):
        raise ValueError(f"is not {height} by {width} pixels of 8-bit grey")
    size = height * (width + 1)
    try:
        # No more is unpacked than belongs there, whatever the file says.
        lines = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        raise ValueError("is damaged") from None
    if len(lines) != size:
        raise ValueError("is damaged")
    return _unfiltered(np.frombuffer(lines, np.uint8).reshape(height, width + 1))


def _chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _unfiltered(lines):
    """The five filters of PNG's specification (W3C, 2003), section 9, for pixels of one byte."""
    image = np.zeros(
        (len(lines) + 1, lines.shape[1]), np.int64
    )  # with a black line above and a column to the left
    for y, line in enumerate(lines.tolist(), start=1):
        kind, above, row = line[0], image[y - 1].tolist(), [0]
        for x in range(1, len(line)):
            a, b, c = row[x - 1], above[x], above[x - 1]
            if kind == 4:
                p = a + b - c
                guess = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            elif kind <= 3:
                guess = (0, a, b, (a + b) // 2)[kind]
            else:
                raise ValueError("is damaged")
            row.append((line[x] + guess) % 256)
        image[y] = row
    return image[1:, 1:].astype(np.uint8)
