"""Strokes drawn by random writers, in the form of MNIST's digits."""

import numpy as np
import pytest

from lenet5c.datasets.stroke_shapes import DIGITS, LETTERS, MARKS, SIGNS
from lenet5c.datasets.strokes import (
    Writers,
    draw_strokes,
    draw_texts,
    place_by_mass,
    read_shape,
    repeat_shape,
)
from lenet5c.recognition.digit import form

PLUS = "l .5,0 .5,1 | l 0,.5 1,.5"


def plain(count, **changes):
    """Return writers without deviations other than these."""
    values = {name: np.zeros(count) for name in Writers.__dataclass_fields__}
    values["width"] += 0.12
    return Writers(**values | {name: np.full(count, value) for name, value in changes.items()})


def sides(image):
    rows, columns = (np.flatnonzero((image >= 76).any(axis=axis)) for axis in (1, 0))
    return np.array([rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1])


@pytest.mark.parametrize("table", [SIGNS, DIGITS, LETTERS, MARKS])
def test_every_shape_has_the_form_of_a_digit(table):
    rng = np.random.default_rng(1)
    writers = Writers.draw(rng, 20)
    for name, texts in table.items():
        for text in texts:
            assert all(points.shape[1:] == (2,) for _, points in read_shape(text)), name
            images = draw_texts([text], 4, writers, rng)
            assert images.dtype == np.uint8 and images.shape == (4, 28, 28)
            for image in images:
                assert 17 <= sides(image).max() <= 22, name


def test_the_center_of_mass_is_where_mnist_has_it():
    rng = np.random.default_rng(2)
    images = draw_texts(LETTERS["A"], 50, Writers.draw(rng, 50), rng)
    mass = images.astype(float)
    for axis in (1, 2):
        middle = (mass.sum(axis=3 - axis) @ (np.arange(28) + 0.5)) / mass.sum(axis=(1, 2))
        assert np.abs(middle - 14.5).max() <= 0.51


def test_a_stroke_is_as_recognition_frames_it():
    """The same cross on a sheet of 200 by 200 pixels, normalized."""
    rng = np.random.default_rng(3)
    drawn = draw_strokes(repeat_shape(PLUS, 8), plain(8), rng).astype(int)
    sheet = np.zeros((220, 220), np.uint8)
    sheet[20:200, 99:121] = sheet[99:121, 20:200] = 255
    framed = form(sheet).astype(int)
    # Writers are never quite upright, and the mass may fall on either side of a pixel's middle.
    shifts = [np.roll(framed, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    apart = [min(np.abs(image - each).mean() for each in shifts) for image in drawn]
    assert np.median(apart) < 9
    assert abs(drawn.sum() / 8 / framed.sum() - 1) < 0.06


def test_the_same_seed_gives_the_same_bytes():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return draw_texts(SIGNS["x"], 30, Writers.draw(rng, 9), rng, width=(0.1, 0.2), turn=0.1)

    assert np.array_equal(draw(5), draw(5)) and not np.array_equal(draw(5), draw(6))


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"width": 0.2}, 1.3),
        ({"dry": 0.9}, 0.9),
        ({"broad": 0.6, "nib": 1.57}, 0.8),
        ({"skip": 1.0}, 0.99),
        ({"wet": 1.0}, 1.05),
    ],
)
def test_pens_leave_more_or_less_ink(changes, more):
    def ink(writers):
        return draw_strokes(repeat_shape(PLUS, 40), writers, np.random.default_rng(7)).sum()

    share = ink(plain(40, **changes)) / ink(plain(40))
    assert share > more if more > 1 else share < more


def test_a_slant_leans_to_the_right_and_a_mirror_exchanges_sides():
    rng = np.random.default_rng(8)
    upright, slanted = (
        draw_strokes(repeat_shape("l .5,0 .5,1", 20), plain(20, slant=slant), rng)
        for slant in (0.0, 0.5)
    )
    assert sides(upright.max(axis=0))[1] < 8 < sides(slanted[0])[1]
    tops = [(image[:12].sum(axis=0) @ np.arange(28)) / image[:12].sum() for image in slanted]
    assert min(tops) > 15
    opening, closing = (
        draw_texts(SIGNS["("], 40, plain(9), rng, mirrored=mirrored).mean(axis=0)
        for mirrored in (False, True)
    )
    assert np.abs(opening - closing[:, ::-1]).mean() < np.abs(opening - closing).mean() / 2


def test_ink_keeps_inside_the_image():
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 4:24, 4:24] = 1  # of which nearly all mass lies in one corner
    images[0, 4:6, 4:6] = 255
    images[1, 4:24, 12] = 200
    placed = place_by_mass(images, 4, np.full((2, 2), 20))
    assert placed[0, 8:, 8:].sum() == images[0].sum() and placed[0, 8, 8] == 255
    assert placed[1].sum() == images[1].sum() and placed[1][:, 14].sum() == images[1].sum()
