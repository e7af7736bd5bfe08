"""Picture files of all supported formats."""

import io
import struct
import zlib
from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image

from lenet5c.datasets import read_picture
from torture.fuzz.support import MutateBytes

MAX_LENGTH = 2048
PNG = b"\x89PNG\r\n\x1a\n"
DICTIONARY = [
    *(b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"iCCP", b"zTXt", b"IEND"),
    *(PNG, b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"RIFF", b"WEBPVP8 ", b"WEBPVP8L"),
    *(
        b"WEBPVP8X",
        b"ALPH",
        b"ANIM",
        b"\xff\xd8\xff",
        b"Exif\0\0",
        b"P5\n",
        b"P6 ",
        b"P1\n",
        b"Pf\n",
    ),
    *(b"P7\n", b"65500", b"50000000", b"NETSCAPE2.0", b"\x21\xf9\x04"),
]
#: Modes that a format can save, with the options of each.
SAVED: dict[str, tuple[tuple[str, ...], tuple[dict[str, object], ...]]] = {
    "PNG": (("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), ({}, {"optimize": True})),
    "JPEG": (("L", "RGB", "CMYK"), ({}, {"progressive": True})),
    "BMP": (("1", "L", "P", "RGB"), ({},)),
    "GIF": (("L", "P", "RGB"), ({}, {"interlace": 0})),
    "TIFF": (
        ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I", "I;16"),
        ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}),
    ),
    "WEBP": (("RGB", "RGBA"), ({}, {"lossless": True})),
    "PPM": (("1", "L", "RGB", "I"), ({},)),
}


def read(data: bytes) -> None:
    """Read a picture, as `lenet5c predict -` does."""
    picture = read_picture(io.BytesIO(data))
    assert picture.dtype == np.uint8 and picture.size, "a picture of another form"


def seeds() -> Iterator[bytes]:
    """Yield small pictures in all formats and modes, with several pages and EXIF."""
    values = np.arange(7 * 5 * 4, dtype=np.uint8).reshape(7, 5, 4) * 3
    colored = Image.fromarray(values)
    for form, (modes, options) in SAVED.items():
        for mode in modes:
            picture = colored.convert("L").convert(mode) if mode == "I;16" else colored
            for each in options:
                file = io.BytesIO()
                picture.convert(mode).save(file, form, **each)
                yield file.getvalue()
    gray = colored.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "TIFF", "WEBP"):
        file = io.BytesIO()
        gray.convert("RGB").save(file, form, exif=exif)
        yield file.getvalue()
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        file = io.BytesIO()
        gray.save(file, form, save_all=True, append_images=[gray, gray])
        yield file.getvalue()
    yield b"P2\n3 2\n255\n0 1 2 3 4 5\n"
    yield b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.5, float("nan"))
    yield make_png(7000, 7000, 0, bytes(10_000))
    yield make_png(60_000, 800, 6, bytes(10_000))


def large() -> Iterator[bytes]:
    """Yield small files of 49 million pixels, in all modes, and one of many more."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16"):
        picture = Image.new("L" if mode == "I;16" else mode, (7000, 7000))
        picture = picture.convert(mode) if mode == "I;16" else picture
        for form, options in (
            ("PNG", {}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("GIF", {}),
            ("JPEG", {"quality": 1}),
        ):
            if mode in SAVED[form][0]:
                file = io.BytesIO()
                picture.save(file, form, **options)
                yield file.getvalue()
        del picture
    yield make_png(65_000, 65_000, 6, bytes(10_000_000))


def make_png(width: int, height: int, color: int, rows: bytes) -> bytes:
    """Return a PNG file that declares a large picture and holds the first rows of one."""
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return PNG + b"".join(make_chunk(*chunk) for chunk in chunks)


def make_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file with its checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change bytes; in a PNG file mostly a chunk, with a valid checksum."""
    if not data.startswith(PNG) or random.random() < 0.2:
        return mutate_bytes(data)
    chunks, place = [], len(PNG)
    while place + 8 <= len(data) and len(chunks) < 50:
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return mutate_bytes(data)
    number = random.randrange(len(chunks))
    kind, content = chunks[number]
    action = random.randrange(6)
    if action == 0:
        chunks.insert(number, random.choice(chunks))
    elif action == 1:
        del chunks[number]
    elif action == 2 and kind in (b"IDAT", b"zTXt", b"iCCP"):
        chunks[number] = kind, zlib.compress(mutate_bytes(unzip(content)), 1)
    else:
        chunks[number] = kind, mutate_bytes(content)
    return PNG + b"".join(make_chunk(*chunk) for chunk in chunks)


def unzip(content: bytes) -> bytes:
    """Return the first decompressed bytes, as far as possible."""
    try:
        return zlib.decompressobj().decompress(content, MAX_LENGTH)
    except zlib.error:
        return b""
