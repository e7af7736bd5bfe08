"""Checks of picture file headers before Pillow opens the files.

Pillow converts everything before the pixels to Python objects: a few megabytes of a malicious file
could become gigabytes or take minutes. `MAX_PARTS` and the other limits prevent this.
"""

import os
from dataclasses import dataclass
from struct import calcsize, error, unpack
from typing import BinaryIO

from lenet5c.errors import UserError

#: Maximum segments of a JPEG, blocks of a GIF, chunks of a PNG, and values of a TIFF tag.
MAX_PARTS, MAX_CHUNKS, MAX_TAG_VALUES = 10_000, 1 << 17, 1 << 17
#: Maximum bytes of EXIF data in a JPEG, and of other data between its segments.
MAX_EXIF, MAX_JUNK = 1 << 20, 1 << 16
_UNZIPPED = 1 << 20  # maximum bytes of a text chunk in Pillow
_BYTES = (1, 2, 6, 7)  # tag types whose values remain bytes
_ALONE = (0x01, *range(0xD0, 0xDA))  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


class PictureError(UserError):
    """Raised when a picture cannot be read; the message has its name and the reason."""


@dataclass
class Header:
    """Result of `check_header`."""

    held: int = 0  #: bytes of the file that Pillow holds in memory
    scans: bool = False  #: a JPEG of several scans, whose coefficients are held in memory
    bits: int = 0  #: significant bits of gray levels declared by a PNG


def check_header(file: BinaryIO, name: str) -> Header:
    """Return the `Header` of a picture file, or raise an error if it would use too much memory.

    Damaged files and files of other formats are left to Pillow.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    try:
        if head.startswith(b"\xff\xd8\xff"):
            scans = _check_jpeg(file, name)
            return Header(3 * file.tell(), scans)
        if head.startswith(b"\x89PNG"):
            return _check_png(file, name)
        if head.startswith(b"GIF8"):
            _check_gif(file, name)
            return Header(file.tell())
        if head.startswith(b"RIFF"):
            return Header(2 * size)  # read at once and copied by the decoder
        if head[:2] in (b"II", b"MM"):
            return Header(min(_check_tiff(file, name), size))
    except (error, IndexError, OverflowError):  # truncated header
        pass
    return Header()


def check_exif(size: int, name: str) -> None:
    """Raise an error if the EXIF data are too large."""
    _check("bytes of EXIF", size, MAX_EXIF, name)


def _check(what: str, number: int, most: int, name: str) -> None:
    if number > most:
        raise PictureError(f"{name} must have at most {most:,} {what}, got more; save it again")


def _check_jpeg(file: BinaryIO, name: str) -> bool:
    """Return True if a JPEG has several scans: it is progressive or not interleaved."""
    file.seek(2)
    parts, junk, exif, components, progressive = 0, 0, 0, 0, False
    while byte := file.read(1):
        if byte != b"\xff":
            junk += 1
            _check("bytes between segments", junk, MAX_JUNK, name)
            continue
        marker = file.read(1)[0]
        if marker == 0xFF:
            junk += 1
            _check("bytes between segments", junk, MAX_JUNK, name)
            file.seek(-1, os.SEEK_CUR)
            continue
        parts += 1
        _check("segments", parts, MAX_PARTS, name)
        if marker == 0 or marker in _ALONE:
            continue
        (length,) = unpack(">H", file.read(2))
        content = file.read(min(6, length - 2)) if length > 2 else b""
        if marker == 0xE1 and content[:4] == b"Exif":
            exif += length
            check_exif(exif, name)
        if marker in _FRAMES:
            components, progressive = content[5], marker in _PROGRESSIVE
        if marker == 0xDA:
            return progressive or content[0] != components
        file.seek(max(0, length - 2) - len(content), os.SEEK_CUR)
    return False


def _check_png(file: BinaryIO, name: str) -> Header:
    """Return the significant bits, and the decompressed bytes of all chunks except pixels."""
    place, chunks, header = 8, 0, Header()
    while True:
        file.seek(place)
        head = file.read(9)
        if len(head) < 9 or head[4:8] == b"IEND":
            return header
        length, kind = unpack(">I4s", head[:8])
        if kind != b"IDAT":
            header.held += 2 * length
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            header.held += _UNZIPPED
        if kind == b"sBIT" and length:
            header.bits = head[8]
        place += 12 + length
        chunks += 1
        _check("chunks", chunks, MAX_CHUNKS, name)


def _check_gif(file: BinaryIO, name: str) -> None:
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(3 << (flags % 8 + 1) if flags & 0x80 else 0, os.SEEK_CUR)
    parts = 0
    while (byte := file.read(1)) not in (b"", b",", b";"):
        parts += 1
        _check("blocks before the pixels", parts, MAX_PARTS, name)
        if byte == b"!":
            file.read(1)
            while length := file.read(1)[0]:
                parts += 1
                _check("blocks before the pixels", parts, MAX_PARTS, name)
                file.seek(length, os.SEEK_CUR)


def _check_tiff(file: BinaryIO, name: str) -> int:
    """Return the size of the tags whose values remain bytes."""
    file.seek(0)
    head = file.read(16)
    order, big = ("<" if head[:1] == b"I" else ">"), 43 in head[2:4]
    (start,) = unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])
    file.seek(start)
    (count,) = unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    form, held = order + ("HHQ8x" if big else "HHI4x"), 0
    for _ in range(min(count, 1 << 16)):
        _, kind, values = unpack(form, file.read(calcsize(form)))
        if kind in _BYTES:
            held += values
        else:
            _check("values in a tag", values, MAX_TAG_VALUES, name)
    return held
