"""Corruptions: deterministic, for any image size, within the pixel range, ordered by severity."""

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.datasets import corruption_filters as filters
from lenet5c.datasets.corruptions import BLOCK, CORRUPTIONS, SEVERITIES, corrupt
from lenet5c.training import open_model


def draw(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def test_the_kinds_are_those_of_mnist_c():
    noise = {"shot_noise", "impulse_noise", "glass_blur", "motion_blur", "brightness", "fog"}
    form = {"shear", "scale", "rotate", "translate", "canny_edges"}
    drawn = {"stripe", "spatter", "dotted_line", "zigzag"}
    assert set(CORRUPTIONS) == noise | form | drawn and len(CORRUPTIONS) == 15


@in_one_test
@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 37), (1, 1, 1), (2, 3, 2), (1, 96, 64)])
def test_any_size_and_color(kind, shape):
    images = draw(3, shape)
    before = images.copy()
    for severity in SEVERITIES:
        made = corrupt(images, kind, severity, seed=1)
        assert made.dtype == np.uint8 and made.shape == images.shape
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_seed_says_all(kind, mnist_slice):
    images = mnist_slice[1].images[:40]
    made = corrupt(images, kind, 3, seed=5)
    np.testing.assert_array_equal(corrupt(images, kind, 3, seed=5), made)
    np.testing.assert_array_equal(corrupt(images[:, 0], kind, 3, seed=5), made[:, 0])
    assert (made != images).any(axis=(1, 2, 3)).all()
    chance = {"scale", "brightness", "stripe", "canny_edges"}
    assert (corrupt(images, kind, 3, seed=6) != made).any() == (kind not in chance)


def test_images_do_not_depend_on_other_blocks():
    side = 128
    size = BLOCK // side**2
    images = draw(size + 3, (1, side, side))
    other = images.copy()
    other[:size] = 0
    for kind in ("shot_noise", "fog", "rotate"):
        made = corrupt(images, kind)
        np.testing.assert_array_equal(corrupt(other, kind)[size:], made[size:])
    assert corrupt(images[:0], "fog").shape == (0, 1, side, side)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_model_errs_more_as_severity_grows(kind, mnist_slice):
    test, trained = mnist_slice[1], open_model()
    rates = [
        (trained.predict(corrupt(test.images, kind, severity)) != test.labels).mean()
        for severity in (1, 3, 5)
    ]
    assert rates[0] <= rates[1] + 0.01 and rates[1] <= rates[2] + 0.01
    assert rates[2] > rates[0]


@pytest.mark.parametrize("kind", ["stripe", "dotted_line", "zigzag", "spatter"])
def test_what_is_drawn_stands_out_of_either_ground(kind):
    dark, light = np.zeros((4, 1, 28, 28), np.uint8), np.full((4, 1, 28, 28), 255, np.uint8)
    on_dark, on_light = corrupt(dark, kind, 4), corrupt(light, kind, 4)
    np.testing.assert_array_equal(on_dark, 255 - on_light)
    assert on_dark.max() == 255


def test_geometry_moves_paper_in():
    images = np.full((8, 1, 28, 28), 200, np.uint8)
    images[:, :, 10:18, 10:18] = 20
    for kind in ("shear", "scale", "rotate", "translate"):
        made = corrupt(images, kind, 5)
        assert made.min() >= 20 and made.max() == 200
        assert abs(int((made < 110).sum()) / (8 * 64) - (0.2 if kind == "scale" else 1)) < 0.25


def test_warp_by_nothing_changes_nothing():
    images = draw(5, (2, 9, 13)).astype(np.float32)
    same = filters.warp(images, np.tile(np.eye(2, dtype=np.float32), (5, 1, 1)))
    np.testing.assert_allclose(same, images, atol=1e-3)
    moved = filters.warp(
        images,
        np.tile(np.eye(2, dtype=np.float32), (5, 1, 1)),
        np.tile(np.float32([2, -3]), (5, 1)),
    )
    np.testing.assert_allclose(moved[:, :, 2:, :-3], images[:, :, :-2, 3:], atol=1e-3)


def test_a_quarter_turn_is_that_of_numpy():
    images = draw(3, (1, 11, 11)).astype(np.float32)
    turn = np.tile(np.float32([[0, 1], [-1, 0]]), (3, 1, 1))
    np.testing.assert_allclose(
        filters.warp(images, turn), np.rot90(images, 1, axes=(2, 3)), atol=1e-3
    )


def test_edges_are_one_pixel_wide_and_closed():
    image = np.zeros((1, 40, 40), np.float32)
    y, x = np.mgrid[:40, :40]
    image[0][np.hypot(y - 20, x - 20) < 12] = 255
    edges = filters.find_edges(filters.gaussian(image, 1.0))[0]
    radius = np.hypot(y - 20, x - 20)[edges]
    assert radius.min() > 10 and radius.max() < 13.5
    angles = np.sort(np.arctan2(*(np.argwhere(edges) - 20).T))
    assert np.diff(angles).max() < 0.25
    assert 60 < edges.sum() < 110
    assert not filters.find_edges(np.full((1, 9, 9), 7, np.float32)).any()


def test_the_blur_of_a_point_is_its_kernel():
    image = np.zeros((1, 1, 21, 21), np.float32)
    image[0, 0, 10, 10] = 1
    blurred = filters.gaussian(image, 1.5)[0, 0]
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(blurred, blurred.T, atol=1e-7)
    rows = blurred.sum(axis=1)
    assert (rows * (np.arange(21) - 10) ** 2).sum() == pytest.approx(1.5**2, rel=0.03)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "snow"}, "kind must be"),
        ({"kind": None}, "kind must be"),
        ({"severity": 0}, "severity must be an integer from 1 to 5, got 0"),
        ({"severity": 6}, "severity must be an integer from 1 to 5, got 6"),
        ({"severity": 2.0}, "severity must be an integer from 1 to 5, got 2.0"),
        ({"severity": True}, "severity must be an integer from 1 to 5, got True"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"images": np.zeros((2, 1, 8, 8))}, "images must be uint8"),
        ({"images": np.zeros((8, 8), np.uint8)}, "images must have a nonempty shape"),
        ({"images": np.zeros((2, 1, 0, 8), np.uint8)}, "images must have a nonempty shape"),
    ],
)
def test_arguments_that_do_not_fit(change, words):
    given = {"images": np.zeros((2, 1, 8, 8), np.uint8), "kind": "fog"} | change
    with pytest.raises(ValueError, match=words):
        corrupt(**given)
