"""Decoding of picture files with Pillow, in bounded memory.

Files are not trusted: only a fixed list of formats is opened, sizes are checked before decoding,
and pixels are converted in strips. Decoding takes at most `MEMORY` bytes: a picture that would take
more is reduced in size while it is decoded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.datasets.picture_headers import Header, PictureError, check_exif, check_header
from lenet5c.datasets.strips import (
    NO_WHITES,
    SCALES,
    Strips,
    Whites,
    find_white,
    flatten_strips,
    reduce_strips,
    shrink_strip,
    split_rows,
)
from lenet5c.errors import MissingExtraError

#: Supported Pillow formats, and the file endings that are recognized in folders.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".heics", ".hif"),
}
# Brands of the last two, in a container format shared with others.
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIF": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}
#: Compressions of TIFF, by Pillow's names.
COMPRESSIONS = (
    *("raw", "tiff_raw_16", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"),
    *("jpeg", "tiff_jpeg", "tiff_ccitt", "group3", "group4"),
)
MAX_PIXELS = 200_000_000
MAX_SIDE = 65_500
#: Maximum bytes of a file, and of metadata held by Pillow (which holds WebP files twice).
MAX_FILE, MAX_METADATA = 256 << 20, 64 << 20
#: Maximum number of bytes to decode a picture, or all pictures that are decoded in parallel.
MEMORY = 300_000_000
#: Formats decoded in Python by Pillow (text or odd-depth PPM, RLE BMP), and their maximum pixels.
SLOW, MAX_SLOW = ("ppm", "ppm_plain", "bmp_rle"), 1_000_000
MAX_SCANS = 64  # of a JPEG
_SLACK = 16_000_000  # strips, tables and small metadata


def open_image(file: BinaryIO, name: str, held: int = 0) -> tuple[Any, int]:
    """Open a picture, called `name` in error messages, without decoding it.

    `held` is the number of its bytes that are already in memory.

    Returns
    -------
    image : PIL.Image.Image
    cost : int
        Maximum number of bytes used by `decode`.
    """
    Image = require("PIL.Image", "images", "pictures")
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise PictureError(f"{name} is empty")
    try:
        header = check_header(file, name)
        if header.held > MAX_METADATA:
            raise PictureError(
                f"{name} must contain at most {MAX_METADATA:,} bytes of metadata, got "
                f"{header.held:,}; save it without metadata"
            )
        if header.scans:
            _count_scans(file, name)
        header.held += held
        image = _open(Image, file, name)
        check_size(image.width, image.height, name)
        scale, cost = _fit(image, header, size, name)
        image.decoding_notes = scale, _declare_bits(image, header)
        return image, cost
    except PictureError:
        raise
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{name} must be a picture in one of the supported formats: {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        most = min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS))
        raise PictureError(f"{name} has more than {most:,} pixels; resize it first") from None
    except MemoryError:
        raise PictureError(f"{name} cannot be read: there is not enough memory") from None
    except Exception as error:  # a decoder may raise anything for a malicious file
        raise PictureError(f"{name} cannot be read as a picture: {_shorten(error)}") from None


def decode(image: Any, name: str, white: Whites = NO_WHITES) -> NDArray[np.uint8]:
    """Decode a picture opened by Pillow to an array, upright.

    `white` has the levels of white as returned by `measure_white`; by default, those of the
    picture.
    """
    with _name_faults(image, name):
        image.load()
        orientation = _read_orientation(image, name)
        return _convert_mode(image, orientation, white)


def measure_size(image: Any, name: str) -> tuple[int, int]:
    """Return the upright height and width of a picture opened by Pillow, without decoding it."""
    with _name_faults(image, name):
        sideways = _read_orientation(image, name) >= 5
    return (image.width, image.height) if sideways else (image.height, image.width)


def measure_white(image: Any, name: str) -> dict[str, float]:
    """Return the level of white of a picture opened by Pillow.

    The key is 'int' or 'float'; the result is empty if gray levels have eight bits.
    """
    if not _is_deep(image):
        return {}
    with _name_faults(image, name):
        image.load()
        return find_white(_count_strips(image, image.mode), _read_notes(image)[1])


@contextmanager
def _name_faults(image: Any, name: str) -> Iterator[None]:
    """Convert errors of decoding a picture to a PictureError."""
    check_size(image.width, image.height, name)
    try:
        yield
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name} cannot be read: there is not enough memory") from None
    except Exception as error:
        raise PictureError(f"{name} is damaged or not supported: {_shorten(error)}") from None


def check_size(width: int, height: int, name: str) -> None:
    """Raise a PictureError if there are too many pixels or none."""
    if width < 1 or height < 1:
        raise PictureError(f"{name} has no pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureError(
            f"{name} must have at most {MAX_PIXELS:,} pixels and {MAX_SIDE:,} on a side, got "
            f"{width:,} by {height:,} pixels; resize it first"
        )


def _find_formats(file: BinaryIO, name: str) -> tuple[str, ...]:
    """Return the formats that a file may have by its header, and make Pillow load them."""
    head = file.read(64)
    file.seek(0)
    if head[4:8] != b"ftyp":
        return tuple(form for form in FORMATS if form not in _BRANDS)
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(head[3], 64), 4))}
    form = next((form for form, known in _BRANDS.items() if brands & known), "")
    if form == "AVIF":
        with suppress(ImportError):
            if import_module("PIL.AvifImagePlugin").SUPPORTED:
                return (form,)
        raise PictureError(f"{name} is AVIF, which needs Pillow 11.3 or later")
    if form == "HEIF":
        try:
            require("pillow_heif", "heic", "HEIC pictures").register_heif_opener()
        except MissingExtraError as error:
            raise PictureError(f"{name} cannot be read: {error}") from None
        return (form,)
    return ("JPEG2000",)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _fit(image: Any, header: Header, size: int, name: str) -> tuple[int, int]:
    """Return the reduction factor of the decoded picture, and the bytes of memory needed.

    A large JPEG or JPEG 2000 picture is set to be decoded at a smaller size instead.
    """
    pixels, kind = image.width * image.height, f"{image.format} {image.mode}"
    if image.tile and image.tile[0][0] in SLOW and (pixels > MAX_SLOW or size > 4 * MAX_SLOW):
        raise PictureError(
            f"{name} must have at most {MAX_SLOW:,} pixels in {4 * MAX_SLOW:,} bytes in a text "
            f"format or at an unusual bit depth, got {pixels:,} in {size:,}; save it as PNG"
        )
    held = header.held + _SLACK
    each, made = _core_bytes(image.mode), 1 if _is_gray(image) else 3
    drafted = image.format in ("JPEG", "MPO", "JPEG2000")
    if image.format in ("JPEG", "MPO"):
        held += 2 * _count_coefficients(image) if header.scans else 0
    elif image.format == "WEBP":
        each += 12  # two canvases, a copy, and the decoder's buffer
    elif image.format in ("AVIF", "HEIF"):
        held += 2 * size
        each += 1 + len(image.getbands())  # a copy, after the planes of luma and chroma are freed
    elif image.format == "JPEG2000":
        held += size
        each += 5 * len(image.getbands())  # 32 bits in the decoder, and a tile
    elif image.format == "TIFF":
        held += _count_strip(image, name)
        if image.tag_v2.get(0x0112, 1) != 1:
            each += _core_bytes(image.mode)  # rotated by Pillow
    for scale in SCALES:
        if drafted:
            cost = held + (each + made) * pixels // scale**2
        else:
            cost = held + each * pixels + made * pixels // scale**2
        if cost <= MEMORY and min(image.size) >= scale:
            if image.format == "JPEG2000":
                image.reduce = scale.bit_length() - 1
            elif drafted and scale > 1:
                image.draft(image.mode, (image.width // scale, image.height // scale))
            return 1 if drafted else scale, int(cost)
    raise PictureError(
        f"{name} must take at most {MEMORY // 10**6} MB to decode, got {cost // 10**6} MB: "
        f"{image.width:,} by {image.height:,} pixels of {kind}; resize it first"
    )


def _open(Image: Any, file: BinaryIO, name: str) -> Any:
    """Open a file with Pillow."""
    file.seek(0)
    jpeg = file.read(3) == b"\xff\xd8\xff"
    file.seek(0)
    if jpeg:
        # Without Pillow's own limit of 179 million pixels, which photos of phones exceed.
        Image.preinit()
        return Image.OPEN["JPEG"][0](file, "")
    return Image.open(file, formats=_find_formats(file, name))


def _declare_bits(image: Any, header: Header) -> int:
    """Return the significant bits of gray levels declared by a file, 0 if none."""
    if image.format == "PPM":
        return 16  # scaled by Pillow
    if image.format == "TIFF":
        bits = int(image.tag_v2.get(258, (16,))[0])
        return bits if bits < 16 else 0
    return min(header.bits, 16)


def _read_notes(image: Any) -> tuple[int, int]:
    """Return the reduction factor and the significant bits stored by `open_image`."""
    notes: tuple[int, int] = getattr(image, "decoding_notes", (1, 0))
    return notes


def _core_bytes(mode: str) -> int:
    """Return the bytes per pixel in Pillow."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def _is_gray(image: Any) -> bool:
    mode = image.mode
    return mode[0] in "1IF" or (mode == "L" and "transparency" not in image.info)


def _count_coefficients(image: Any) -> int:
    """Return the number of coefficients of a JPEG, in whole blocks of its sampling."""
    layers = image.layer
    widest, highest = (max(layer[i] for layer in layers) for i in (1, 2))
    blocks = -(-image.width // (8 * widest)) * -(-image.height // (8 * highest))
    return int(64 * blocks * sum(layer[1] * layer[2] for layer in layers))


def _count_scans(file: BinaryIO, name: str) -> None:
    """Reject a JPEG with too many scans, each of which takes as much work as a picture."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += block.count(b"\xff\xda") + (last + block[:1] == b"\xff\xda")
        last = block[-1:]
    if scans > MAX_SCANS:
        raise PictureError(f"{name} must have at most {MAX_SCANS} scans, got {scans:,}")


def _count_strip(image: Any, name: str) -> int:
    """Return the bytes of the largest strip or tile of a TIFF, held in memory by libtiff."""
    tags, compression = image.tag_v2, image.info.get("compression")
    if compression not in COMPRESSIONS:
        raise PictureError(
            f"{name} must not use {compression} compression; save it with Deflate or LZW"
        )
    if image.tile[0][0] == "raw":
        return 0
    side = max(image.size)  # it may be rotated already
    wide, high = tags.get(322, side), tags.get(323) or min(tags.get(278, side), side)
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    bits = sum(bits) if len(bits) > 1 else bits[0] * samples
    each = -(-bits // 8) + (4 if tags.get(262) == 6 else 0)  # YCbCr decoded to RGBA
    return int(wide * high * (each + (2 * samples if "jpeg" in compression else 0)))


def _read_orientation(image: Any, name: str) -> int:
    """Return the EXIF orientation of a decoded picture, 1 to 8."""
    check_exif(len(image.info.get("exif") or b""), name)
    orientation = image.getexif().get(0x0112, 1)
    return orientation if orientation in range(2, 9) else 1


def _turn(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a view of an upright picture in the orientation of the file."""
    if orientation in (2, 3):
        picture = picture[:, ::-1]
    if orientation in (3, 4):
        picture = picture[::-1]
    if orientation == 7:
        picture = picture[::-1, ::-1]
    if orientation in (5, 7):
        picture = picture.swapaxes(0, 1)
    if orientation in (6, 8):
        picture = np.rot90(picture, 7 - orientation)
    return picture


def _convert_mode(image: Any, orientation: int, white: Whites) -> NDArray[np.uint8]:
    scale, bits = _read_notes(image)
    width, height = (side // scale for side in image.size)
    shape = (height, width) if orientation < 5 else (width, height)
    gray = _is_gray(image)
    picture = np.empty(shape if gray else (*shape, 3), np.uint8)
    rows_of_file = _turn(picture, orientation)
    mode = image.mode
    if _is_deep(image):
        strips = reduce_strips(_count_strips(image, mode), white, bits)
    elif mode in ("LA", "La", "PA", "RGBA", "RGBa") or (not gray and "transparency" in image.info):
        strips = flatten_strips(_count_strips(image, "RGBA"))
    else:
        strips = _count_strips(image, "L" if gray else "RGB")()
    for rows, strip in strips:
        rows_of_file[rows.start // scale : rows.stop // scale] = shrink_strip(strip, scale)
    return picture


def _is_deep(image: Any) -> bool:
    return _is_gray(image) and image.mode[0] in "IF"


def _count_strips(image: Any, mode: str) -> Strips:
    def strips() -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows in split_rows(image):
            part = image
            if rows.stop - rows.start < image.height:
                part = image.crop((0, rows.start, image.width, rows.stop))
            yield rows, np.asarray(part if part.mode == mode else part.convert(mode))

    return strips
