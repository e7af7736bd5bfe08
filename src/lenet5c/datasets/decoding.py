"""Picture files opened and decoded by Pillow, within bounded memory.

Files are not trusted: only a fixed list of formats is opened, sizes are checked before a picture is
decoded, and the pixels are converted in strips. Decoding takes at most `MEMORY` bytes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c._optional import require
from lenet5c.datasets.picture_headers import Header, PictureError, check_exif, check_header
from lenet5c.errors import MissingExtraError

#: Formats of Pillow that are opened, and the endings of their files that a folder is searched for.
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
# Those of the last two, in a header of their own that others share.
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIF": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}
#: Compressions of TIFF, by Pillow's names.
COMPRESSIONS = (
    *("raw", "tiff_raw_16", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"),
    *("jpeg", "tiff_jpeg", "tiff_ccitt", "group3", "group4"),
)
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_500
#: Bytes of a file, and of what Pillow keeps of it: metadata, and twice all of WebP.
MAX_FILE, MAX_METADATA = 256 << 20, 64 << 20
#: Bytes that decoding a picture takes, at most; of pictures that are decoded at once together.
MEMORY = 300_000_000
#: What Pillow decodes in Python, and the pixels of it: PPM as text or of odd depths, BMP by RLE.
SLOW, MAX_SLOW = ("ppm", "ppm_plain", "bmp_rle"), 1_000_000
MAX_SCANS = 64  # of a JPEG
_STRIP = 1 << 18  # pixels
_SLACK = 16_000_000  # strips, tables and small metadata


def open_image(file: BinaryIO, name: str, held: int = 0) -> tuple[Any, int]:
    """Open a picture, called `name` in errors, of which nothing is decoded yet.

    `held` are the bytes of it that are in memory already.

    Returns
    -------
    image : PIL.Image.Image
    cost : int
        Bytes that `decode` takes, at most.
    """
    Image = require("PIL.Image", "images", "pictures")
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise PictureError(f"{name} is empty")
    try:
        header = check_header(file, name)
        if header.held > MAX_METADATA:
            raise PictureError(
                f"{name} must keep at most {MAX_METADATA:,} bytes in memory beside its pixels, "
                f"got {header.held:,}; save it anew without metadata"
            )
        if header.scans:
            _count_scans(file, name)
        header.held += held
        file.seek(0)
        image = Image.open(file, formats=_find_formats(file, name))
        check_size(image.width, image.height, name)
        return image, _fit(image, header, size, name)
    except PictureError:
        raise
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture in a format that is read: {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has more than {MAX_PIXELS:,} pixels; reduce it first") from None
    except MemoryError:
        raise PictureError(f"{name} cannot be read: there is not enough memory") from None
    except Exception as error:  # a decoder that is given a hostile file may raise anything
        raise PictureError(f"{name} cannot be read as a picture: {_shorten(error)}") from None


def decode(image: Any, name: str) -> NDArray[np.uint8]:
    """Return the array of a picture that Pillow has opened, upright."""
    check_size(image.width, image.height, name)
    try:
        image.load()
        orientation = _read_orientation(image, name)
        return _convert_mode(image, orientation)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name} cannot be read: there is not enough memory") from None
    except Exception as error:
        raise PictureError(
            f"{name} is damaged or of a kind that is not read: {_shorten(error)}"
        ) from None


def check_size(width: int, height: int, name: str) -> None:
    """Raise a PictureError unless there are as many pixels as are read."""
    if width < 1 or height < 1:
        raise PictureError(f"{name} has no pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureError(
            f"{name} must have at most {MAX_PIXELS:,} pixels and {MAX_SIDE:,} on a side, "
            f"got {width:,} by {height:,} pixels; reduce it first"
        )


def reduce_depth(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert gray levels of more than eight bits by their likely range, such as 12 bits."""
    gray = np.empty(values.shape, np.uint8)
    _reduce_depth(lambda: ((rows, values[rows]) for rows in _rows(values)), gray)
    return gray


def flatten_alpha(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a picture with transparency on paper.

    The opaque part is a drawing on nothing, or a picture with holes or round corners. A drawing
    gets the paper furthest from its color, white or black; holes get the picture's usual color.
    """
    picture = np.empty((*rgba.shape[:2], 3), np.uint8)
    _flatten_alpha(lambda: ((rows, rgba[rows]) for rows in _rows(rgba)), picture)
    return picture


Strips = Callable[[], Iterator[tuple[slice, NDArray[Any]]]]


def _find_formats(file: BinaryIO, name: str) -> tuple[str, ...]:
    """Return the formats that a file may have by its header, once Pillow can read them."""
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


def _fit(image: Any, header: Header, size: int, name: str) -> int:
    """Return the bytes that decoding takes; a large JPEG is set to be decoded at a smaller size."""
    pixels, kind = image.width * image.height, f"{image.format} {image.mode}"
    if image.tile and image.tile[0][0] in SLOW and (pixels > MAX_SLOW or size > 4 * MAX_SLOW):
        raise PictureError(
            f"{name} must have at most {MAX_SLOW:,} pixels in {4 * MAX_SLOW:,} bytes, being text "
            f"or of an unusual depth, got {pixels:,} in {size:,}; save it as PNG"
        )
    held = header.held + _SLACK
    each = _core_bytes(image.mode) + (1 if _is_gray(image) else 3)
    if image.format in ("JPEG", "MPO"):
        held += 2 * _count_coefficients(image) if header.scans else 0
        for scale in (1, 2, 4, 8):
            cost = held + each * pixels // scale**2
            if cost <= MEMORY:
                if scale > 1:
                    image.draft(image.mode, (image.width // scale, image.height // scale))
                return cost
    elif image.format == "WEBP":
        each += 12  # two canvases, a copy, and the decoder's own
    elif image.format in ("AVIF", "HEIF"):
        held += 2 * size
        each += 1 + len(image.getbands())  # a copy; the planes of luma and chroma are freed before
    elif image.format == "JPEG2000":
        held += size
        each += 5 * len(image.getbands())  # 32 bits in the decoder, and a tile
    elif image.format == "TIFF":
        held += _count_strip(image, name)
        if image.tag_v2.get(0x0112, 1) != 1:
            each += _core_bytes(image.mode)  # Pillow turns it
    cost = held + each * pixels
    if cost > MEMORY:
        raise PictureError(
            f"{name} must take at most {MEMORY // 10**6} MB to decode, got {cost // 10**6} MB: "
            f"{image.width:,} by {image.height:,} pixels of {kind}; reduce it first"
        )
    return cost


def _core_bytes(mode: str) -> int:
    """Return the bytes that Pillow takes for a pixel."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def _is_gray(image: Any) -> bool:
    mode = image.mode
    return mode[0] in "1IF" or (mode == "L" and "transparency" not in image.info)


def _count_coefficients(image: Any) -> int:
    """Return the coefficients of a JPEG: of whole blocks, of those sampled together."""
    layers = image.layer
    widest, highest = (max(layer[i] for layer in layers) for i in (1, 2))
    blocks = -(-image.width // (8 * widest)) * -(-image.height // (8 * highest))
    return int(64 * blocks * sum(layer[1] * layer[2] for layer in layers))


def _count_scans(file: BinaryIO, name: str) -> None:
    """Refuse a JPEG of very many scans: each is as much work as a picture."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += block.count(b"\xff\xda") + (last + block[:1] == b"\xff\xda")
        last = block[-1:]
    if scans > MAX_SCANS:
        raise PictureError(f"{name} must have at most {MAX_SCANS} scans, got {scans:,}")


def _count_strip(image: Any, name: str) -> int:
    """Return the bytes of the largest strip or tile of a TIFF, which libtiff holds."""
    tags, compression = image.tag_v2, image.info.get("compression")
    if compression not in COMPRESSIONS:
        raise PictureError(
            f"{name} must not be compressed by {compression}; save it by Deflate or LZW"
        )
    if image.tile[0][0] == "raw":
        return 0
    side = max(image.size)  # it may be turned already
    wide, high = tags.get(322, side), tags.get(323) or min(tags.get(278, side), side)
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    bits = sum(bits) if len(bits) > 1 else bits[0] * samples
    each = -(-bits // 8) + (4 if tags.get(262) == 6 else 0)  # YCbCr as red, green, blue and alpha
    return int(wide * high * (each + (2 * samples if "jpeg" in compression else 0)))


def _read_orientation(image: Any, name: str) -> int:
    """Return the EXIF orientation of a decoded picture, 1 to 8."""
    check_exif(len(image.info.get("exif") or b""), name)
    orientation = image.getexif().get(0x0112, 1)
    return orientation if orientation in range(2, 9) else 1


def _turn(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a view of an upright picture whose rows are those of the file."""
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


def _convert_mode(image: Any, orientation: int) -> NDArray[np.uint8]:
    width, height = image.size
    shape = (height, width) if orientation < 5 else (width, height)
    gray = _is_gray(image)
    picture = np.empty(shape if gray else (*shape, 3), np.uint8)
    rows_of_file = _turn(picture, orientation)
    mode = image.mode
    if gray and mode[0] in "IF":
        _reduce_depth(_strips_of(image, mode), rows_of_file)
    elif mode in ("LA", "La", "PA", "RGBA", "RGBa") or (not gray and "transparency" in image.info):
        _flatten_alpha(_strips_of(image, "RGBA"), rows_of_file)
    else:
        for rows, strip in _strips_of(image, "L" if gray else "RGB")():
            rows_of_file[rows] = strip
    return picture


def _strips_of(image: Any, mode: str) -> Strips:
    def strips() -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows in _rows(image):
            part = image
            if rows.stop - rows.start < image.height:
                part = image.crop((0, rows.start, image.width, rows.stop))
            yield rows, np.asarray(part if part.mode == mode else part.convert(mode))

    return strips


def _rows(picture: Any) -> Iterator[slice]:
    """Return the rows of each strip of an array or image."""
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
    else:
        width, height = picture.size
    step = max(1, _STRIP // width)
    return (slice(y, min(y + step, height)) for y in range(0, height, step))


def _reduce_depth(strips: Strips, gray: NDArray[np.uint8]) -> None:
    least, most = np.inf, -np.inf
    for _, values in strips():
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            least, most = min(least, float(values.min())), max(most, float(values.max()))
    low, top = (least, most) if least <= most else (0.0, 0.0)
    least = low
    if low >= 0:
        ranges = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
        low, top = 0.0, next((bound for bound in ranges if top <= bound), top)
    for rows, values in strips():
        values = values.astype(np.float64)
        values[~np.isfinite(values)] = least
        values -= low
        values /= max(top - low, 1e-300)
        np.clip(values, 0, 1, out=values)
        values *= 255
        values += 0.5
        gray[rows] = values.astype(np.uint8)


def _flatten_alpha(strips: Strips, picture: NDArray[np.uint8]) -> None:
    opaque, least, most = 0, 255, 0
    for _, rgba in strips():
        alpha = rgba[..., 3]
        opaque += int(np.count_nonzero(alpha > 127))
        least, most = min(least, int(alpha.min())), max(most, int(alpha.max()))
    if least == 255:
        for rows, rgba in strips():
            picture[rows] = rgba[..., :3]
        return
    paper: Any = np.full(3, 255)
    if most > 0:
        covered = opaque > 0.5 * picture.shape[0] * picture.shape[1]
        paper = _choose_paper(strips, 128 if opaque else 1, covered)
    # The result for each level of a color and each alpha.
    level = np.arange(256, dtype=np.float32)[:, np.newaxis]
    share = np.arange(256, dtype=np.float32) / 255
    tables = [
        (level * share + np.float32(color) * (1 - share) + 0.5).astype(np.uint8).ravel()
        for color in paper
    ]
    for rows, rgba in strips():
        for i, table in enumerate(tables):
            picture[rows, :, i] = table.take(rgba[..., i].astype(np.uint16) << 8 | rgba[..., 3])


def _choose_paper(strips: Strips, least: int, covered: bool) -> Any:
    """Return the color to lay a picture on, by its pixels with at least so much alpha."""
    colors = np.zeros((3, 256), np.int64)
    lumas = np.zeros(255_001, np.int64)  # in thousandths
    for _, rgba in strips():
        pixels = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]  # one by one is slow
        seen = pixels[rgba[..., 3] >= least].view(np.uint8).reshape(-1, 4)
        luma = np.zeros(len(seen), np.int64)
        for i, weight in enumerate((299, 587, 114)):
            colors[i] += np.bincount(seen[:, i], minlength=256)
            luma += seen[:, i].astype(np.uint32) * np.uint32(weight)
        lumas += np.bincount(luma, minlength=len(lumas))
    if covered:
        levels, total = np.arange(len(lumas)) / 1000, lumas.sum()
        mean = lumas @ levels / total
        if np.sqrt(lumas @ (levels - mean) ** 2 / total) > 12:
            return [_find_median(counts) for counts in colors]
    return np.full(3, 255 if _find_median(lumas) <= 128_000 else 0)


def _find_median(counts: NDArray[np.int64]) -> float:
    """Return the median of values that occur so many times each."""
    total, upto = counts.sum(), np.cumsum(counts)
    low, high = (
        int(np.searchsorted(upto, place, "right")) for place in ((total - 1) // 2, total // 2)
    )
    return (low + high) / 2
