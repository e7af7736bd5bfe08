"""Strokes to ink, and what the sliders do to an image."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from drawn.demo_digits import strokes_of

from lenet5c.datasets import mnist
from lenet5c.demo.drawing import USUAL_WIDTH, DrawingError, parse_strokes, render
from lenet5c.demo.transform import RANGES, Transform, TransformError, thicken


def naive(strokes, width, side):
    """Draw by the distance of each pixel's center to each segment, one by one."""
    y, x = np.mgrid[:side, :side] + 0.5
    ink = np.zeros((side, side))
    for stroke in strokes:
        points = stroke[:, :2] * side
        for a, b in zip(
            points[: max(1, len(points) - 1)],
            points[1:] if len(points) > 1 else points,
            strict=True,
        ):
            d = b - a
            t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(d @ d, 1e-12), 0, 1)
            distance = np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1])
            ink = np.maximum(ink, np.clip(width / 28 * side / 2 + 0.5 - distance, 0, 1))
    return ink * 255


@pytest.mark.parametrize("width", [0.6, USUAL_WIDTH, 6])
@pytest.mark.parametrize("digit", ["0", "1", "3", "7"])
def test_ink_is_what_lies_near_the_stroke(digit, width):
    strokes = parse_strokes(strokes_of(digit))
    difference = np.abs(render(strokes, width).astype(float) - naive(strokes, width, 112))
    assert difference.mean() < 1 and np.mean(difference > 80) < 0.002


def test_a_point_is_a_disc_and_pressure_its_size():
    small, usual, large = (render(parse_strokes([[0.5, 0.5, p]])) for p in (0.5, 1, 1.5))
    areas = [np.count_nonzero(ink > 127) for ink in (small, usual, large)]
    np.testing.assert_allclose(
        areas, [np.pi * (USUAL_WIDTH * 2 * p) ** 2 for p in (0.5, 1, 1.5)], rtol=0.12
    )


def test_what_leaves_the_paper_is_cut_off():
    inside = render(parse_strokes([[0.5, 0.5, 1, 1.5, 0.5, 1]]))
    assert inside[56, -1] == 255 and inside[56, 53] == 255 and not inside[:40].any()
    assert not render(parse_strokes([[9e9, -9e9, 1]])).any()
    assert not render([]).any() and parse_strokes([[]]) == []


def test_a_long_scribble_takes_no_more_than_a_moment_of_memory():
    rng = np.random.default_rng(0)
    stroke = np.stack([*rng.random((2, 20_000)), np.ones(20_000)], axis=1).ravel().tolist()
    assert render(parse_strokes([stroke])).mean() > 200


def test_many_long_strokes_take_no_more_than_a_moment_of_memory():
    points = np.random.default_rng(0).uniform(-9, 9, (300, 60, 3))
    strokes = parse_strokes([each.ravel().tolist() for each in points])
    tracemalloc.start()
    try:
        render(strokes, width=0.6)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [None, 5, "x", [5], [[1]], [["1", 2, 3]], [[float("nan"), 0, 1]], [[float("inf"), 0, 1]]],
)
def test_what_is_no_drawing(value):
    with pytest.raises(DrawingError):
        parse_strokes(value)


@pytest.fixture(scope="module")
def image():
    image = np.zeros((1, 32, 32), np.uint8)
    image[0, 10:22, 12:16] = np.arange(10, 250, 5).reshape(12, 4)
    return image


def test_nothing_moved_is_nothing_changed(image):
    assert Transform().apply(image) is image
    assert thicken(image, USUAL_WIDTH) is image


def test_whole_pixels_and_quarter_turns_are_exact(image):
    np.testing.assert_array_equal(
        Transform(shift_x=3, shift_y=-2).apply(image), np.roll(image, (-2, 3), (1, 2))
    )
    np.testing.assert_array_equal(
        Transform(rotation=90).apply(image), np.rot90(image, -1, (1, 2))
    )  # clockwise
    np.testing.assert_array_equal(Transform(rotation=180).apply(image), image[:, ::-1, ::-1])
    assert not Transform(shift_x=10, scale=0.4).apply(np.zeros_like(image)).any()


def test_size(image):
    def area(scale):
        return Transform(scale=scale).apply(image).sum(dtype=float)

    assert area(1.5) / area(1) == pytest.approx(1.5**2, rel=0.05)
    assert area(0.5) / area(1) == pytest.approx(0.5**2, rel=0.05)


def test_noise_does_not_flicker(image):
    noisy = Transform(noise=0.2).apply(image)
    np.testing.assert_array_equal(noisy, Transform(noise=0.2).apply(image))
    assert 0 < noisy[image == 0].mean() < 60 and (noisy != image).mean() > 0.4


def test_pens_of_other_widths():
    digits = mnist()[1].images[:6]
    ink = [
        np.mean([thicken(digit, width).mean() for digit in digits])
        for width in (0.6, 1.4, USUAL_WIDTH, 4, 6)
    ]
    assert all(a < 0.92 * b for a, b in pairwise(ink))
    assert thicken(digits[0], 6).shape == digits[0].shape


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name):
    low, high, usual = RANGES[name]
    assert getattr(Transform(), name) == usual
    for value in (low, high, usual):
        assert getattr(Transform.parse({"transform": {name: value}}), name) == value
    for value in (low - 1, high + 1, float("nan"), "1", None, True, [1]):
        with pytest.raises(TransformError, match=name):
            Transform.parse({"transform": {name: value}})
