"""Malicious picture files with bounded memory and time."""

import gzip
import io
import os
import socket
import struct
import threading
import zlib

import numpy as np
import pytest
from peak_memory import measure_peak

Image = pytest.importorskip("PIL.Image")

from lenet5c.datasets import PictureError, read_picture  # noqa: E402
from lenet5c.datasets.pictures import read_header, read_pictures  # noqa: E402

MEMORY = 300_000_000


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_png(path, side, color, channels, before=b""):
    """Write an empty square PNG of a few kilobytes."""
    packer, row = zlib.compressobj(1), bytes(1 + side * channels)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, color, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(content)
    return path


def write_tiff(path, side, *tags, pixel=4):
    """Write a square TIFF, by default float32, as a sparse file."""
    tags = {256: (4, 1, side), 257: (4, 1, side), 258: (3, 1, 8 * pixel), 259: (3, 1, 1)} | {
        262: (3, 1, 1),
        273: (4, 1, 4096),
        278: (4, 1, side),
        279: (4, 1, side * side * pixel),
        339: (3, 1, 3),
        **dict(tags),
    }
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4))
    os.truncate(path, 4096 + side * side * pixel)
    return path


@pytest.mark.parametrize(("color", "channels"), [(4, 2), (6, 4)])
def test_a_picture_with_transparency_takes_no_more_than_it_may(color, channels, tmp_path):
    size, lines = measure_peak(
        "print(read_picture(sys.argv[1]).shape)",
        write_png(tmp_path / "a.png", 6200, color, channels),
    )
    assert size < MEMORY and lines == ["(6200, 6200, 3)"]


def test_a_photograph_of_50_megapixels_takes_no_more_than_it_may(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8160, 6144), (10, 200, 30)).save(path, exif=exif)
    size, lines = measure_peak("print(read_picture(sys.argv[1]).shape)", path)
    assert size < MEMORY and lines == ["(4080, 3072, 3)"]
    path = write_png(tmp_path / "a.png", 7081, 2, 3)
    size, lines = measure_peak("print(read_picture(sys.argv[1]).shape)", path)
    assert size < MEMORY and lines == ["(3540, 3540, 3)"]


def test_float_gray_takes_no_more_than_it_may(tmp_path):
    size, lines = measure_peak(
        "print(read_picture(sys.argv[1]).shape)", write_tiff(tmp_path / "a.tiff", 7000)
    )
    assert size < MEMORY and lines == ["(7000, 7000)"]


def test_what_would_take_more_is_refused_by_its_header(tmp_path):
    path = write_png(tmp_path / "a.png", 9000, 6, 4)
    size, lines = measure_peak("read_picture(sys.argv[1])", path)
    assert size < 20_000_000 and "must take at most 300 MB to decode, got" in lines[0]
    assert "\n" not in lines[0] and str(path) in lines[0]


def test_pictures_of_a_folder_take_no_more_together(tmp_path):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_png(tmp_path / f"{name}.png", 4000, 6, 4)
    size, lines = measure_peak("print(len(image_folder(sys.argv[1]).train))", tmp_path)
    assert size < MEMORY and lines == ["2"]


def test_threads_wait_for_memory():
    from lenet5c.datasets.pictures import _Memory

    memory, order = _Memory(10), []

    def work():
        with memory.take(6):
            order.append("second")

    thread = threading.Thread(target=work)
    with memory.take(5):
        thread.start()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"] and memory.free == 10


def jpeg(size=(1000, 1000), **options):
    file = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(file, "JPEG", **options)
    return file.getvalue()


def test_a_large_photograph_is_read_smaller(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(size=(1001, 600)))
    assert read_picture(path).shape == (600, 1001, 3)
    monkeypatch.setattr("lenet5c.datasets.decoding.MEMORY", 18_000_000)
    assert read_picture(path).shape == (300, 501, 3)
    monkeypatch.setattr("lenet5c.datasets.decoding.MEMORY", 16_100_000)
    assert read_picture(path).shape == (75, 126, 3)
    # All coefficients of a progressive one are in memory, at any size.
    path.write_bytes(jpeg(size=(1001, 600), progressive=True, subsampling=0))
    with pytest.raises(PictureError, match="to decode"):
        read_picture(path)
    monkeypatch.setattr("lenet5c.datasets.decoding.MEMORY", 21_000_000)
    assert read_picture(path).shape == (300, 501, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_other_large_pictures_are_read_smaller(mode, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    shape = (206, 100) if mode in ("L", "I;16") else (206, 100, len(mode))
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    if mode == "RGBA":
        pixels[..., 3] = 255
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 3
    stored = pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels
    Image.fromarray(stored).save(path, exif=exif)
    colors = pixels[..., :3] if mode == "RGBA" else pixels
    upright = colors[::-1, ::-1]
    assert (read_picture(path) == upright).all()
    core = {"L": 1, "I;16": 2}.get(mode, 4)
    made = 3 if mode in ("RGB", "RGBA") else 1
    # Room for the picture of Pillow, and for a fifteenth of the result.
    slack = 16_000_000 + 1000 + core * 20_600 + made * 20_600 // 15
    monkeypatch.setattr("lenet5c.datasets.decoding.MEMORY", slack)
    squares = colors[:204].reshape(51, 4, 25, 4, *colors.shape[2:]).astype(float)
    expected = (squares.mean(axis=(1, 3)) + 0.5).astype(np.uint8)[::-1, ::-1]
    assert (read_picture(path) == expected).all()


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def many_scans():
    content = jpeg(progressive=True)
    place = content.rindex(b"\xff\xda")
    return content[:place] + 100 * content[place:-2] + content[-2:]


def ppm(maximum, count=1_100_000):
    return b"P5 %d 1000 %d\n" % (-(-count // 1000), maximum) + bytes(count)


def animation():
    blocks = b"!\xfe\x01a\0" * 20_000
    file = io.BytesIO()
    Image.new("P", (9, 9)).save(file, "GIF")
    content = file.getvalue()
    place = 13 + (3 << (content[10] % 8 + 1))
    return content[:place] + blocks + content[place:]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (many_scans, "64 scans"),
        (lambda: jpeg()[:2] + 40 * segment(0xE1, b"Exif\0\0" + bytes(65_000)), "bytes of EXIF"),
        (lambda: jpeg()[:2] + 11_000 * segment(0xFE, b"") + jpeg()[2:], "segments"),
        (lambda: jpeg()[:20] + bytes(1 << 17) + jpeg()[20:], "between segments"),
        (lambda: b"\x89PNG\r\n\x1a\n" + 140_000 * chunk(b"abCd", b""), "chunks"),
        (animation, "blocks before the pixels"),
        (lambda: ppm(100), "unusual bit depth"),
        (lambda: b"P2 2000 1000 255\n" + 10_000_000 * b"0 ", "unusual bit depth"),
    ],
    ids=["scans", "exif", "segments", "junk", "chunks", "blocks", "depth", "text"],
)
def test_much_work_for_little_is_refused(make, words, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(make())
    with pytest.raises(PictureError, match=words) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ((273, (4, 200_000, 4096)), "values in a tag"),
        ((282, (5, 200_000, 4096)), "values in a tag"),
        ((700, (7, 100_000_000, 4096)), "bytes of metadata"),
        ((259, (3, 1, 34925)), "lzma"),
        ((322, (4, 1, 60_000)), "to decode|damaged|cannot be read"),
    ],
)
def test_tags_that_become_much(tag, words, tmp_path):
    tags = [tag, (323, (4, 1, 60_000)), (259, (3, 1, 5))] if tag[0] == 322 else [tag]
    path = write_tiff(tmp_path / "a.tiff", 6000, *tags)
    with pytest.raises(PictureError, match=words):
        read_picture(path)


def test_metadata_is_bounded(tmp_path):
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))
    path = write_png(tmp_path / "a.png", 10, 0, 1, 100 * text)
    with pytest.raises(PictureError, match="bytes of metadata"):
        read_picture(path)
    assert read_picture(write_png(tmp_path / "a.png", 10, 0, 1, 10 * text)).shape == (10, 10)


def test_a_file_is_bounded(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM")
    os.truncate(path, 300 << 20)
    with pytest.raises(PictureError, match="268,435,456"):
        read_picture(path)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets")
def test_sockets_and_devices_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.png")
        for path in ("a.png", "/dev/zero"):
            with pytest.raises(PictureError, match="regular"):
                read_picture(path)
            with pytest.raises(PictureError, match="regular"):
                read_header(path)


def test_a_header_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(PictureError, match=r"a\.png"):
        read_header(tmp_path / "a.png")


def test_no_memory_is_an_error_of_one_line(tmp_path, monkeypatch):
    path = write_png(tmp_path / "a.png", 10, 0, 1)

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("lenet5c.datasets.decoding._convert_mode", fail)
    with pytest.raises(PictureError, match="not enough memory"):
        read_picture(path)
    (error,) = read_pictures([path])
    assert isinstance(error, PictureError)


@pytest.mark.parametrize("source", [None, 5, [], [1, 2], [["a"]], {}, object()])
def test_other_types_are_a_type_error(source):
    with pytest.raises(TypeError, match="source must be a path"):
        read_picture(source)
    with pytest.raises(TypeError, match="source must be a binary file"):
        read_picture(io.StringIO("text"))


def test_a_stream_that_is_closed(tmp_path):
    file = io.BytesIO(gzip.compress(b""))
    file.close()
    with pytest.raises(PictureError, match="closed"):
        read_picture(file)


@pytest.mark.parametrize("strip", [1 << 18, 700])
def test_strips_have_no_effect_on_the_pixels(strip, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.strips._STRIP", strip)
    rng = np.random.default_rng(5)
    rgba = rng.integers(0, 256, (70, 90, 4), dtype=np.uint8)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for ending in ("png", "tiff"):
            file = io.BytesIO()
            Image.fromarray(rgba[..., :3]).save(file, ending, exif=exif)
            turned = np.rot90(rgba, {3: 2, 4: 2, 6: 3, 7: 3, 5: 1, 8: 1}.get(orientation, 0))
            if orientation in (2, 4, 5, 7):
                turned = turned[:, ::-1] if orientation in (2, 4) else turned[::-1]
            assert (read_picture(io.BytesIO(file.getvalue())) == turned[..., :3]).all(), (
                orientation,
                ending,
            )
    gray = (rgba[..., 0].astype(np.float32) - 7) * 1e6
    expected = (gray - gray.min()) / np.ptp(gray).astype(np.float64) * 255
    assert (read_picture(Image.fromarray(gray)) == (expected + 0.5).astype(np.uint8)).all()
    deep = rgba[..., 1].astype(np.uint16) * 16
    expected = (deep / 4095 * 255 + 0.5).astype(np.uint8)
    assert (read_picture(Image.fromarray(deep)) == expected).all()
    rgba[:40, :, 3] = 255  # a picture with holes
    seen = rgba[rgba[..., 3] > 127][:, :3]
    paper = np.median(seen, axis=0).astype(np.float32)
    share = rgba[..., 3:].astype(np.float32) / 255
    expected = (rgba[..., :3] * share + paper * (1 - share) + 0.5).astype(np.uint8)
    assert (read_picture(Image.fromarray(rgba)) == expected).all()
    assert (read_picture(rgba) == expected).all()
