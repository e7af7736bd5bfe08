"""Picture files and arrays of all kinds, valid and malicious."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
features = pytest.importorskip("PIL.features")

from lenet5c.datasets import PictureError, image_folder, read_picture  # noqa: E402
from lenet5c.datasets.decoding import MAX_PIXELS  # noqa: E402
from lenet5c.datasets.pictures import find_pictures, measure_whites  # noqa: E402
from lenet5c.recipes import RECIPES  # noqa: E402
from lenet5c.recipes.build import build  # noqa: E402
from lenet5c.recognition import Reader, predict  # noqa: E402
from lenet5c.training import save_model  # noqa: E402

GREY = np.full((60, 50), 240, np.uint8)
GREY[10:50, 22:28] = 20
RGB = np.repeat(GREY[..., np.newaxis], 3, axis=2)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tiff", "webp", "gif", "pgm"])
def test_formats(tmp_path, ending):
    Image.fromarray(GREY).save(tmp_path / f"one.{ending}")
    array = read_picture(tmp_path / f"one.{ending}")
    assert array.dtype == np.uint8 and array.shape[:2] == GREY.shape
    assert predict(str(tmp_path / f"one.{ending}")).label == "1"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_modes(mode):
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    elif mode == "HSV":
        image = Image.fromarray(RGB).convert("HSV")
    else:
        image = (
            Image.fromarray(GREY).convert("RGB" if mode in ("CMYK", "YCbCr") else "L").convert(mode)
        )
    assert image.mode == mode
    array = read_picture(image)
    assert array.dtype == np.uint8
    luma = array if array.ndim == 2 else array.mean(axis=2)
    assert luma[30, 25] < 60 < 200 < luma[5, 5]
    assert predict(image).label == "1"


@pytest.mark.parametrize("color", [0, 128, 255])
def test_a_drawing_on_nothing_shows(color):
    rgba = np.zeros((60, 50, 4), np.uint8)
    rgba[10:50, 22:28] = color, color, color, 255
    assert predict(rgba).label == "1"
    assert predict(Image.fromarray(rgba)).label == "1"
    palette = Image.fromarray((rgba[..., 3] > 0).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, color, color, color])
    palette.info["transparency"] = 0
    file = io.BytesIO()
    palette.save(file, "gif", transparency=0)
    file.seek(0)
    assert predict(file).label == "1"


def test_round_corners_are_no_ink():
    rgba = np.dstack([RGB, np.full(GREY.shape, 255, np.uint8)])
    rgba[:6, :6] = rgba[-6:, -6:] = 0
    reading = predict(rgba)
    assert reading.label == "1" and reading.box[1] > 15


def test_what_is_all_transparent_is_blank():
    assert "no writing" in predict(np.zeros((40, 40, 4), np.uint8)).rejected


def test_the_camera_was_turned(tmp_path):
    image = Image.fromarray(np.rot90(GREY).copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_picture(tmp_path / "turned.jpg").shape == GREY.shape


@pytest.mark.parametrize(
    "array",
    [
        GREY,
        RGB,
        GREY[..., np.newaxis],
        GREY / 255,
        (GREY / 255).astype(np.float32),
        GREY < 100,
        GREY.astype(np.uint16) * 16,
        GREY.astype(int),
        GREY.astype(np.float32),
        (GREY / 255).astype(">f4"),
        (GREY.astype(np.uint16) * 257).astype(">u2"),
        np.dstack([RGB, np.full(GREY.shape, 255, np.uint8)]),
    ],
)
def test_arrays(array):
    before = array.copy()
    assert predict(array).label == "1"
    np.testing.assert_array_equal(array, before)


def test_a_file_as_bytes_and_a_picture_as_lists():
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "png")
    for content in (file.getvalue(), bytearray(file.getvalue()), memoryview(file.getvalue())):
        assert (read_picture(content) == GREY).all()
    for rows in (GREY.tolist(), (GREY / 255).tolist(), tuple(map(tuple, GREY))):
        assert (read_picture(rows) == GREY).all() and predict(rows).label == "1"
    assert (read_picture(RGB.tolist()) == RGB).all()
    assert [reading.label for reading in predict([GREY.tolist(), file.getvalue()])] == ["1", "1"]
    with pytest.raises(PictureError, match="rows of equal length"):
        read_picture([[1, 2], [3]])
    with pytest.raises(
        TypeError, match="source must be a path, the bytes of a file.* got NoneType"
    ):
        predict(None)


def deep(path, brightest, bits=None):
    """Write a 16-bit PNG with pixels of 2045 and a maximum, and optionally an sBIT chunk."""
    values = np.full((20, 20), 2045, np.uint16)
    values[:5] = brightest
    Image.fromarray(values).save(path)
    if bits is not None:
        content, body = path.read_bytes(), bytes([bits])
        chunk = (
            struct.pack(">I", 1) + b"sBIT" + body + struct.pack(">I", zlib.crc32(b"sBIT" + body))
        )
        path.write_bytes(content[:33] + chunk + content[33:])
    return path


@pytest.mark.parametrize(
    ("brightest", "bits", "white"),
    [
        (2045, None, 4095),
        (4095, None, 4095),
        (4096, None, 16383),
        (16384, None, 65535),
        (2045, 14, 16383),
        (4095, 16, 65535),
        (4096, 12, 16383),
        (2045, 255, 65535),
    ],
)
def test_the_white_of_one_deep_picture(tmp_path, brightest, bits, white):
    path = deep(tmp_path / "a.png", brightest, bits)
    assert measure_whites([path]) == {"int": white}
    assert read_picture(path)[9, 9] == int(2045 / white * 255 + 0.5)


def test_deep_pictures_of_a_data_set_have_one_white(tmp_path):
    for name, brightest in (("a/1", 4095), ("a/2", 4096), ("b/1", 2045), ("b/2", 3000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        deep(tmp_path / f"{name}.png", brightest)
    Image.fromarray(GREY).save(tmp_path / "a" / "3.png")  # eight bits stay as they are
    Image.fromarray(GREY / np.float32(255)).save(tmp_path / "b" / "4.tiff")
    source = image_folder(tmp_path, size=(20, 20))
    assert source.white == {"int": 16383.0, "float": 1.0}
    images = np.concatenate([source.train.images, source.test.images])
    ids = source.train.ids + source.test.ids
    assert {name: images[i, 0, 12, 3] for i, name in enumerate(ids)} == {
        **dict.fromkeys(("a/1.png", "a/2.png", "b/1.png", "b/2.png"), 32),
        **dict.fromkeys(("a/3.png", "b/4.tiff"), 240),
    }
    # A model that was trained on them takes each picture by the same white, even a lone one.
    _, trained = build(RECIPES["default"], source, 0)
    save_model(tmp_path / "model.safetensors", trained)
    reader = Reader(tmp_path / "model.safetensors")
    assert reader.white == source.white
    assert reader(tmp_path / "b" / "1.png").steps["image"][12, 3] == 32


def test_deep_pictures_of_a_list_have_one_white(tmp_path):
    paths = [deep(tmp_path / f"{brightest}.png", brightest) for brightest in (4095, 4096)]
    arrays = [np.array(Image.open(path)) for path in paths]
    for pictures in (paths, arrays, [paths[0], Image.open(paths[1])]):
        grays = [reading.steps["picture"][9, 9] for reading in predict(pictures)]
        assert grays == [32, 32]
    assert read_picture(arrays[0])[9, 9] == 127
    assert read_picture(arrays[0], {"int": 16383.0})[9, 9] == 32


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 5), np.uint8), "shape.*several pictures as a list"),
        (np.zeros((3, 9, 9), np.uint8), "shape.*channels last"),
        (np.zeros(9, np.uint8), "shape"),
        (np.zeros((0, 3), np.uint8), "shape"),
        (np.full((9, 9), 300.0), "0 to 1 or from 0 to 255, got 300 to 300"),
        (np.full((9, 9), np.nan), "finite"),
        (np.full((9, 9), -1), "0 to 255"),
        (np.full((9, 9), "a"), "must be uint8"),
        (np.zeros((1, 70_000), np.uint8), "65,500"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    with pytest.raises(PictureError, match=words):
        read_picture(array)


def png(width, height):
    """Return the head of a PNG of this size, without pixels."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def whole_png():
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 80), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\0", "must be a picture"),
        (b"hello", "must be a picture"),
        (png(60_000, 60_000), f"{2 * Image.MAX_IMAGE_PIXELS:,}"),
        (png(13_500, 13_500), f"{2 * Image.MAX_IMAGE_PIXELS:,}"),
        (png(70_000, 1), "65,500"),
        (png(50, 50), "damaged"),
        (png(0, 5), "picture|pixels"),
        (whole_png()[:500], "damaged"),
        (whole_png()[:20], "picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "must be a picture"),
        (b"8BPS" + bytes(60), "must be a picture"),
    ],
)
def test_hostile_files(tmp_path, content, words):
    path = tmp_path / "bad \u0444.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=words) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(PictureError, match="standard input"):
        read_picture(io.BytesIO(content))


def test_any_cut_or_flipped_byte_is_an_error_or_a_picture(tmp_path):
    rng = np.random.default_rng(1)
    for ending in ("png", "jpeg", "gif", "tiff", "webp", "bmp"):
        file = io.BytesIO()
        Image.fromarray(RGB).save(file, ending)
        for _ in range(25):
            content = bytearray(file.getvalue())
            for place in rng.integers(0, len(content), 4):
                content[place] = rng.integers(256)
            try:
                array = read_picture(
                    io.BytesIO(bytes(content[: rng.integers(1, len(content) + 1)]))
                )
                assert array.dtype == np.uint8
            except PictureError:
                pass


def test_the_largest_pictures(monkeypatch):
    file = io.BytesIO()
    Image.new("L", (300, 200)).save(file, "jpeg")
    # Pillow's own limit does not hold for JPEG.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(file.getvalue()).shape == (200, 300)
    monkeypatch.setattr("lenet5c.datasets.decoding.MAX_PIXELS", 50_000)
    with pytest.raises(PictureError, match="at most 50,000 pixels.*got 300 by 200"):
        read_picture(file.getvalue())
    assert MAX_PIXELS == 200_000_000


def test_what_is_no_file(tmp_path):
    with pytest.raises(PictureError, match="No such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="folder"):
        read_picture(tmp_path)
    with pytest.raises(PictureError):
        read_picture("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="regular"):
        read_picture(tmp_path / "pipe.png")
    assert find_pictures(tmp_path) == []


def test_pictures_of_a_folder_are_sorted(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.tiff"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.jpg", "b.PNG", "c.tiff"]


@pytest.mark.parametrize(
    ("form", "suffix", "error"),
    [("JPEG2000", ".jp2", 0), ("JPEG", ".jfif", 8), ("AVIF", ".avif", 8)],
)
def test_further_formats(form, suffix, error, tmp_path):
    if not features.check({"JPEG2000": "jpg_2000", "AVIF": "avif", "JPEG": "jpg"}[form]):
        pytest.skip("this Pillow cannot write it")
    y, x = np.mgrid[:40, :56]
    picture = np.stack([4 * y, 3 * x, 2 * (x + y)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is on the right
    options = {} if form == "JPEG2000" else {"exif": exif, "quality": 100}
    Image.fromarray(picture).save(tmp_path / f"a{suffix}", form, **options)
    found = read_picture(tmp_path / f"a{suffix}")
    upright = np.rot90(picture, -1) if options else picture
    assert found.shape == upright.shape and np.abs(found.astype(int) - upright).max() <= error
    assert [path.name for path in find_pictures(tmp_path)] == [f"a{suffix}"]


def test_heic_is_read_with_its_extra(tmp_path, monkeypatch):
    header = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "a.heic").write_bytes(header)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(PictureError, match=r"a.heic .*pip install 'lenet5c\[heic\]'"):
            read_picture(tmp_path / "a.heic")
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    picture = np.full((40, 56, 3), (200, 120, 40), np.uint8)
    Image.fromarray(picture).save(tmp_path / "b.heic", quality=100)
    found = read_picture(tmp_path / "b.heic")
    assert found.shape == (40, 56, 3) and np.abs(found.astype(int) - picture).max() < 8
    with pytest.raises(PictureError, match="a.heic must be a picture"):
        read_picture(tmp_path / "a.heic")


def test_pictures_in_formats_that_are_not_read_are_not_passed_over(tmp_path):
    for name in ("a.psd", "b.CR2", "c.txt"):
        (tmp_path / name).write_bytes(b"8BPS")
    assert [path.name for path in find_pictures(tmp_path)] == ["a.psd", "b.CR2"]
    with pytest.raises(PictureError, match="must be a picture in one of the supported formats"):
        read_picture(tmp_path / "a.psd")
