"""Distortions computed by hand; tests/datasets/test_distortion.py compares the compiled ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference
from lenet5c.datasets import Distortion

STILL = {"scaling": 1, "squeeze": 1, "shear": 0, "rotation": 0}
STILL |= {"flipped": False, "flipped_vertical": False}


def test_keys_differ_by_seed_epoch_and_sample():
    keys = [
        key
        for seed in (0, 1)
        for epoch in (0, 1)
        for key in reference.distortion_keys(seed, epoch, 9)
    ]
    assert len(set(keys)) == len(keys) == 36
    assert all(0 <= key < 2**64 for key in keys)
    assert reference.distortion_keys(0, 0, 3) == keys[:3]


def test_map_by_hand():
    assert_array_equal(reference.distortion_map(STILL), np.eye(2))
    quarter = reference.distortion_map(STILL | {"rotation": 90})
    assert_allclose(quarter @ [1, 0], [0, -1], atol=1e-15)
    assert_array_equal(reference.distortion_map(STILL | {"flipped": True}) @ [3, 5], [-3, 5])
    assert_array_equal(
        reference.distortion_map(STILL | {"flipped_vertical": True}) @ [3, 5], [3, -5]
    )
    assert_array_equal(reference.distortion_map(STILL | {"shear": 0.5}) @ [3, 4], [1, 4])
    assert_array_equal(reference.distortion_map(STILL | {"squeeze": 2}) @ [4, 4], [2, 8])


def test_nothing_is_the_image(rng):
    image = rng.integers(0, 256, (2, 5, 7))
    settings = Distortion().to_dict()
    assert_array_equal(reference.distort(image, 123, settings), image)
    never = Distortion(rotation=90, elastic=50, flip=1, probability=0).to_dict()
    assert_array_equal(reference.distort(image, 123, never), image)
    assert_array_equal(reference.distort(image, 1, Distortion(flip=1).to_dict()), image[..., ::-1])


@pytest.mark.parametrize("key", reference.distortion_keys(0, 0, 5))
def test_a_shift_moves_the_mass(key):
    settings = Distortion(translation=2).to_dict()
    draws = reference.distortion_draws(key, settings)
    image = np.zeros((1, 11, 11))
    image[0, 5, 5] = 100
    out = reference.distort(image, key, settings)[0]
    rows, columns = np.mgrid[:11, :11]
    assert_allclose(out.sum(), 100)
    assert_allclose((out * rows).sum() / 100, 5 + draws["down"])
    assert_allclose((out * columns).sum() / 100, 5 + draws["right"])


def test_fields_are_smooth():
    settings = Distortion(elastic=10, elastic_sigma=2).to_dict()
    field = reference.distortion_field(7, settings, 20, 20)
    noise = 10 * reference.distortion_noise(7, 20, 20)
    steps = np.abs(np.diff(field, axis=2)).mean()
    assert steps < np.abs(np.diff(noise, axis=2)).mean() / 20
    assert steps < np.abs(field).mean()
