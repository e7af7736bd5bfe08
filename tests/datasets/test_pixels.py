"""Conversion of arrays to images and labels: ranges, shapes, and invalid values."""

import numpy as np
import pytest

from lenet5c.datasets import DatasetError
from lenet5c.datasets.pixels import (
    convert_images,
    convert_labels,
    convert_targets,
    find_image_shape,
    guess_reading,
    is_square,
)

BYTES = np.random.default_rng(0).integers(0, 256, (20, 5, 6), dtype=np.uint8)
BYTES[0, 0, :2] = 0, 255


def convert(*arrays, image_shape=None, **options):
    named = {str(i): array for i, array in enumerate(arrays)}
    images, notes, _ = convert_images(named, image_shape, **options)
    return list(images.values()), notes


@pytest.mark.parametrize(
    "values",
    [
        BYTES,
        BYTES.astype(np.int64),
        BYTES.astype(">i2"),
        BYTES.astype(np.float16),
        BYTES / 255,
        (BYTES / 255).astype(">f4"),
        (BYTES / 127.5 - 1).astype(np.float32),
        BYTES.astype(np.uint16) * 257,
        BYTES.astype(np.float64) * 1e300 - 1e302,
        (BYTES.astype(int) - 128).astype(np.int8),
    ],
    ids=lambda values: values.dtype.str,
)
def test_bytes_in_other_types(values):
    (images,), _ = convert(values)
    assert images.dtype == np.uint8 and np.array_equal(images, BYTES[:, None])


def test_four_channels_are_noted():
    colors = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 4), np.uint8)
    for images in (colors, np.moveaxis(colors, 3, 1)):
        (found,), notes = convert(images)
        assert found.shape == (3, 4, 8, 9)
        assert notes == [
            "0: all 4 channels are used; if the fourth is opacity (RGBA), remove it "
            "with images[..., :3]"
        ]
    assert convert(colors[..., :3])[1] == []


def test_ranges():
    def show(high, low=0):
        return convert(np.array([[[low, high], [low, high]]], dtype=float))

    for high, white in ((0.5, 1), (1, 1), (9, 16), (17, 255), (300, 1023), (4096, 16383)):
        (images,), notes = show(high)
        assert images.ravel().tolist() == 2 * [0, round(255 * high / white)]
        told = (
            []
            if white in (1, 255)
            else [f"pixel values from 0 to {white} are scaled to black and white"]
        )
        assert notes == told
    assert show(2.8, -0.4)[1] == ["pixel values from -0.4 to 2.8 are scaled to black and white"]
    assert not show(-7.0, -7.0)[0][0].any()
    assert np.array_equal(convert(np.eye(4, dtype=bool)[None])[0][0][0, 0], 255 * np.eye(4))


def test_one_range_for_all_parts():
    (train, test), _ = convert(np.full((1, 2, 2), 4095), np.full((1, 2, 2), 4096))
    assert (train[0, 0, 0, 1], test[0, 0, 0, 1]) == (64, 64)
    (_, test), _ = convert(BYTES, np.ones((1, 2, 2), np.uint8))
    assert test.max() == 1


def test_bytes_are_not_copied():
    (images,), _ = convert(BYTES)
    assert np.shares_memory(images, BYTES)


@pytest.mark.parametrize(
    ("shape", "image_shape", "expected"),
    [
        ((2, 784), None, (1, 28, 28)),
        ((2, 784, 1), None, (1, 28, 28)),
        ((2, 3072), "any", (3, 32, 32)),
        ((2, 28, 20), None, (1, 28, 20)),
        ((2, 1, 28, 28), None, (1, 28, 28)),
        ((2, 28, 28, 1), None, (1, 28, 28)),
        ((2, 3, 32, 32), None, (3, 32, 32)),
        ((2, 32, 32, 3), None, (3, 32, 32)),
        ((2, 4, 4, 1), None, (1, 4, 4)),
        ((2, 3, 3, 3), None, (3, 3, 3)),
        ((2, 5, 9, 9), None, (5, 9, 9)),
        ((2, 560), (28, 20), (1, 28, 20)),
        ((2, 28, 28), (14, 56), (1, 14, 56)),
        ((2, 1680), (28, 20, 3), (3, 28, 20)),
    ],
)
def test_shapes(shape, image_shape, expected):
    asked = None if image_shape == "any" else image_shape
    (images,), _ = convert(np.zeros(shape, np.uint8), image_shape=asked)
    assert images.shape == (2, *expected)


def test_channels_are_moved():
    colors = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    (images,), _ = convert(colors)
    assert np.array_equal(images, colors.transpose(0, 3, 1, 2)) and images.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), "got (5,); pass an array of images"),
        (np.zeros((0, 8, 8)), "got (0, 8, 8)"),
        (np.zeros((2, 700)), "a square number of values"),
        (np.zeros((2, 9)), "a square number of values"),
        (np.zeros((2, 2, 2, 2, 8)), "reshape it"),
        (np.zeros((1, 1100, 4)), "at most 1024 pixels per side"),
        (np.zeros((2, 8, 8), complex), "must be an array of numbers, got an array of complex128"),
        (np.zeros((2, 8), "U3"), "must be an array of numbers, got an array of <U3"),
        (np.where(np.arange(3)[:, None, None] == 1, np.nan, np.zeros((3, 2, 2))), "nan in image 1"),
        (np.full((3, 3 * 64), np.inf), "inf in image 0"),
    ],
)
def test_other_arrays_are_refused(array, message):
    with pytest.raises(DatasetError) as caught:
        convert(array)
    assert message in str(caught.value) and str(caught.value).startswith("0 must")


def test_the_shape_must_have_all_values():
    with pytest.raises(DatasetError, match="image_shape must match the 64 values"):
        find_image_shape(np.zeros((2, 64)), "x", (8, 9))


def test_squares():
    assert [n for n in range(-3, 80) if is_square(n)] == [16, 25, 36, 48, 49, 64, 75]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([3, 1], np.uint8), [3, 1]),
        (np.array([[3], [1]], ">i4"), [3, 1]),
        (np.array([[3, 1]]), [3, 1]),
        (np.array([3.0, 1.0], np.float32), [3, 1]),
        (np.array([True, False]), [1, 0]),
        (np.array([[0, 1, 0], [1, 0, 0]]), [1, 0]),
        (np.array([[0, 1.0], [1.0, 0]]), [1, 0]),
        (np.array([-1, 1]), [-1, 1]),
        (np.array(["10", "9"]), [10, 9]),
        (["3.0", "1."], [3, 1]),
        (["01", "2"], ["01", "2"]),
        (np.array([" b ", "a"]), ["b", "a"]),
        (np.array([b"b", b"\xc3\xa9"]), ["b", "é"]),
        (np.array(["a\n", "b\x1b"]), ["a", "b\\x1b"]),
    ],
)
def test_labels(values, expected):
    labels = convert_labels(values, "y")
    assert list(labels) == expected
    assert isinstance(labels, list) or labels.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1, 0.5]), "must be integers, got 0.5 for image 1"),
        (np.array([1, np.nan]), "must be integers, got nan for image 1"),
        (np.full((3, 3), 0.2), "not one-hot"),
        (np.ones((3, 3)), "not one-hot"),
        (np.zeros((2, 2, 2)), "got float64 of shape (2, 2, 2)"),
        (np.array([1j]), "got complex128"),
        (np.array([2**63], np.uint64), "at most 2**53"),
        (["0.5", "1"], "integers or names as labels, got 0.5"),
        (np.frombuffer(b"\xff" * 8, "U1"), "invalid characters"),
    ],
)
def test_other_labels_are_refused(values, message):
    with pytest.raises(DatasetError) as caught:
        convert_labels(values, "y")
    assert message in str(caught.value) and str(caught.value).startswith("y must")


def test_readings():
    digits, photos = np.zeros((9, 1, 8, 8), np.uint8), np.full((9, 1, 8, 8), 128, np.uint8)
    assert [guess_reading([images]) for images in (digits, 255 - digits, photos)] == [
        *("ink", "ink", "whole")
    ]
    assert guess_reading([np.repeat(digits, 3, axis=1)]) == "whole"


def test_levels_of_the_training_images_hold_for_others():
    """For few or dark images, the range may be ambiguous."""
    standard = (BYTES / 100.0 - 1.3).astype(np.float32)
    tones = BYTES.astype(np.int16) * 16
    for values, levels in (
        (standard, {"float": standard.max().item(), "black": standard.min().item()}),
        (tones, {"int": 4095.0}),
        (BYTES / 255, {}),
        (BYTES, {}),
    ):
        images, _, found = convert_images({"x": values})
        assert found == pytest.approx(levels)
        few = images["x"].reshape(len(BYTES), -1).max(axis=1).argmin()
        (alone,), _ = convert(values[[few]])
        (same,), notes = convert(values[[few]], known=found)
        assert np.array_equal(same[0], images["x"][few])
        assert all(note.endswith("as in training") for note in notes)
        assert np.array_equal(same, alone) or levels


@pytest.mark.parametrize(
    ("values", "known"),
    [
        (BYTES, {"int": 4095}),  # bytes
        (BYTES.astype(np.int32), {"int": 16}),  # larger values
        (BYTES / 255, {"int": 4095}),  # floats
        (BYTES.astype(np.int32), {"int": 40, "black": -3}),  # nothing negative
        (BYTES.astype(np.int32) - 100, {"int": 4095}),  # something negative
    ],
)
def test_levels_of_images_of_another_kind_do_not(values, known):
    for one, other in zip(convert(values), convert(values, known=known), strict=True):
        assert np.array_equal(one, other)


def test_soft_targets():
    rows = np.array([[0.25, 0.75], [1, 0], [0.5, 0.495]])
    found = convert_targets(rows, "y")
    assert found.dtype == np.float32 and np.array_equal(found, rows.astype(np.float32))
    for labels in (np.eye(3), np.eye(3, dtype=int), np.arange(4.0), np.ones((4, 1))):
        assert convert_targets(labels, "y") is None
    for wrong in ([0.5, 0.6], [1.5, -0.5], [np.nan, 1], [np.inf, 0.0]):
        with pytest.raises(DatasetError, match="^y must be .* add up to 1 .* for image 1, counted"):
            convert_targets(np.array([[0.5, 0.5], wrong]), "y")
