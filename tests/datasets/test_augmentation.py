"""Flips, crops, colors, erasing: effects, random draws, identical bits."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import reference, set_num_threads
from lenet5c.datasets import Distortion
from lenet5c.kernels.simd import dispatch

EVERYTHING = Distortion.from_dict(
    Distortion.named("pictures").to_dict()
    | {"elastic": 8.0, "flip_vertical": 0.4, "hue": 30.0, "grayscale": 0.2, "erasing": 0.6}
    | {"translation": 1.5, "probability": 0.9}
)
EACH = [
    Distortion(crop_padding=3),
    Distortion(crop_padding=3, outside="edge"),
    Distortion(crop_padding=60, outside="reflect"),
    Distortion(crop=0.9),
    Distortion(crop=0.5, rotation=40, flip=0.5, flip_vertical=0.5, outside="edge"),
    Distortion(translation=8, rotation=180, elastic=20, outside="reflect"),
    Distortion(translation=500, outside="reflect"),
    Distortion(brightness=0.9),
    Distortion(contrast=1),
    Distortion(brightness=0.4, contrast=0.5, saturation=0.6, hue=180, grayscale=0.3),
    Distortion(erasing=1, erasing_area=1),
    Distortion(erasing=0.5, erasing_area=0.01),
    Distortion.named("pictures"),
    EVERYTHING,
]
SHAPES = [(1, 12, 11), (3, 13, 21), (2, 5, 34), (1, 1, 1), (3, 20, 3), (4, 2, 17)]


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def some_images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def draws_of(distortion, count):
    settings = distortion.to_dict()
    return [
        reference.distortion_draws(key, settings) for key in reference.distortion_keys(0, 0, count)
    ]


def column(draws, name):
    return np.array([each[name] for each in draws], float)


class TestCounterpart:
    @in_one_test
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("distortion", EACH, ids=str)
    def test_is_the_reference(self, distortion, shape):
        images, settings = some_images(3, *shape), distortion.to_dict()
        results = distortion(images, seed=3, epoch=2)
        keys = reference.distortion_keys(3, 2, 3)
        for image, result, key in zip(images, results, keys, strict=True):
            expected = reference.distort(image, key, settings)
            # Positions are rounded relative to how far the map reaches; colors then stretch the
            # error by their factors, hue by the most.
            reach = 2 * (max(shape[1:]) + settings["translation"]) + 2 * settings["elastic"]
            assert_allclose(result, expected, rtol=0, atol=2e-3 + 1e-6 * 255 * reach)

    def test_colors_alone_agree_to_rounding(self):
        colors = Distortion(brightness=0.4, contrast=0.5, saturation=0.6, hue=90, grayscale=0.2)
        for shape in SHAPES:
            images = some_images(40, *shape)
            keys = reference.distortion_keys(0, 0, 40)
            expected = [
                reference.distort(image, key, colors.to_dict())
                for image, key in zip(images, keys, strict=True)
            ]
            assert_allclose(colors(images, 0), expected, rtol=0, atol=3e-4)

    @pytest.mark.parametrize(
        "outside, mode", [("black", "constant"), ("edge", "edge"), ("reflect", "reflect")]
    )
    def test_crops_of_a_padded_image_are_exact(self, outside, mode):
        images = some_images(60, 3, 9, 14)
        distortion = Distortion(crop_padding=4, outside=outside)
        padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)), mode)
        for image, result, draws in zip(
            padded, distortion(images, 0), draws_of(distortion, 60), strict=True
        ):
            top, left = 4 - int(draws["down"]), 4 - int(draws["right"])
            assert_array_equal(result, image[:, top : top + 9, left : left + 14])

    def test_flips_are_exact(self):
        images = some_images(20, 3, 9, 30)
        assert_array_equal(Distortion(flip_vertical=1)(images, 0), images[:, :, ::-1])
        both = Distortion(flip=1, flip_vertical=1, outside="reflect")
        assert_array_equal(both(images, 0), images[:, :, ::-1, ::-1])

    def test_erased_are_bytes_in_a_rectangle_and_nothing_else(self):
        images = np.full((200, 3, 20, 30), 7, np.uint8)
        distortion = Distortion(erasing=0.7, erasing_area=0.4)
        for result, draws in zip(distortion(images, 0), draws_of(distortion, 200), strict=True):
            expected = np.zeros((20, 30), bool)
            if draws["erased"]:
                top, left, height, width = reference.erased_rectangle(draws, 20, 30)
                expected[top : top + height, left : left + width] = True
            assert (result[:, ~expected] == 7).all()
            noise = result[:, expected]
            assert_array_equal(noise, noise.astype(np.uint8))
            assert not noise.size or (noise != 7).mean() > 0.9

    def test_gray_images_have_brightness_and_contrast_alone(self):
        colors = {"saturation": 1.0, "hue": 180.0, "grayscale": 1.0}
        for channels in (1, 2, 4):
            images = some_images(20, channels, 8, 9)
            assert_array_equal(Distortion(**colors)(images, 0), images)
            plain = Distortion(brightness=0.3, contrast=0.3)
            both = Distortion(brightness=0.3, contrast=0.3, **colors)
            assert_array_equal(both(images, 0), plain(images, 0))

    def test_grayscale_makes_channels_equal(self):
        seen = Distortion(grayscale=1)(some_images(20, 3, 8, 9), 0)
        assert_allclose(seen, np.repeat(seen[:, :1], 3, axis=1), atol=1e-4)

    @pytest.mark.parametrize("distortion", EACH, ids=str)
    def test_stays_within_gray_levels(self, distortion):
        seen = distortion(some_images(50, 3, 20, 20), 0)
        assert seen.min() >= 0 and seen.max() <= 255

    def test_of_a_single_tone_outside_is_that_tone(self):
        images = np.full((30, 3, 12, 10), 90, np.uint8)
        for outside in ("edge", "reflect"):
            warp = Distortion(5, 0.3, 0.2, 0.4, 180, crop=0.5, crop_padding=20, outside=outside)
            assert_allclose(warp(images, 0), images, rtol=1e-5)


class TestDraws:
    COUNT = 4000
    SETTINGS = Distortion(
        crop_padding=3,
        crop=0.6,
        brightness=0.4,
        contrast=0.3,
        saturation=0.2,
        hue=30,
        flip=0.5,
        flip_vertical=0.25,
        grayscale=0.1,
        erasing=0.3,
        erasing_area=0.4,
        mixup=1,
    )

    def test_are_uniform(self):
        draws = draws_of(self.SETTINGS, self.COUNT)
        area = 1 - column(draws, "side") ** 2
        for values, low, high in (
            (area, 0, 0.6),
            (column(draws, "crop_right"), 0, 1),
            (column(draws, "crop_down"), 0, 1),
            (column(draws, "brightness"), 0.6, 1.4),
            (column(draws, "contrast"), 0.7, 1.3),
            (column(draws, "saturation"), 0.8, 1.2),
            (column(draws, "hue"), -30, 30),
            (column(draws, "erased_area"), 0.02, 0.4),
            (column(draws, "erased_right"), 0, 1),
            (column(draws, "erased_down"), 0, 1),
        ):
            quarters = np.histogram(values, 4, (low, high))[0]
            assert quarters.sum() == self.COUNT
            assert abs(quarters - self.COUNT / 4).max() < 5 * np.sqrt(self.COUNT * 3 / 16)

    def test_of_whole_pixels_are_as_often_each(self):
        draws = draws_of(self.SETTINGS, self.COUNT)
        for name in ("right", "down"):
            values, counts = np.unique(column(draws, name), return_counts=True)
            assert_array_equal(values, np.arange(-3, 4))
            assert abs(counts - self.COUNT / 7).max() < 5 * np.sqrt(self.COUNT * 6 / 49)

    def test_happen_as_often_as_is_said(self):
        draws = draws_of(self.SETTINGS, self.COUNT)
        for name, share in (
            ("flipped", 0.5),
            ("flipped_vertical", 0.25),
            ("gray", 0.1),
            ("erased", 0.3),
        ):
            deviation = np.sqrt(share * (1 - share) / self.COUNT)
            assert abs(column(draws, name).mean() - share) < 5 * deviation

    def test_rectangles_are_as_often_tall_as_wide(self):
        ratios = column(draws_of(self.SETTINGS, self.COUNT), "erased_ratio")
        assert 0.3 <= ratios.min() < 0.31 and 1 / 0.31 < ratios.max() <= 1 / 0.3
        assert abs((ratios > 1).mean() - 0.5) < 5 * np.sqrt(0.25 / self.COUNT)

    def test_are_independent(self):
        names = ["right", "down", "side", "crop_right", "crop_down", "brightness", "contrast"]
        names += ["saturation", "hue", "erased_area", "erased_right", "erased_down", "flipped"]
        names += ["flipped_vertical", "gray", "erased", "scaling", "rotation", "share"]
        settings = self.SETTINGS.to_dict() | {"scaling": 0.1, "rotation": 5.0}
        draws = draws_of(Distortion.from_dict(settings), self.COUNT)
        values = np.array([column(draws, name) for name in names])
        both = np.concatenate([values[:, :-1], values[:, 1:]])  # of a sample and of the next one
        off_diagonal = np.corrcoef(both) - np.eye(2 * len(names))
        assert abs(off_diagonal).max() < 5.5 / np.sqrt(self.COUNT)

    def test_erased_bytes_are_uniform_and_differ(self):
        images = np.zeros((60, 3, 16, 16), np.uint8)
        noise = Distortion(erasing=1, erasing_area=1)(images, 0)
        seen = noise[noise > 0]
        counts = np.bincount(seen.astype(int), minlength=256)[1:]
        expected = counts.mean()
        assert ((counts - expected) ** 2 / expected).sum() < 254 + 5 * np.sqrt(2 * 254)
        assert len({each.tobytes() for each in noise}) == 60


class TestBits:
    def test_of_a_sample_do_not_depend_on_the_others(self):
        images = some_images(70, 3, 16, 18)
        whole = EVERYTHING(images, 7, 3)
        order = np.random.default_rng(0).permutation(70)
        assert_array_equal(EVERYTHING(images, 7, 3, order), whole[order])

    @pytest.mark.parametrize("threads", [2, 3, 8])
    @pytest.mark.parametrize("mixup", [0, 0.4])
    def test_do_not_depend_on_threads(self, threads, mixup):
        images = some_images(200, 3, 32, 32)
        distortion = Distortion.from_dict(EVERYTHING.to_dict() | {"mixup": mixup})
        set_num_threads(1)
        alone = distortion(images, 1)
        set_num_threads(threads)
        assert_array_equal(distortion(images, 1), alone)

    def test_do_not_depend_on_settings_that_do_nothing(self):
        images = some_images(50, 3, 20, 20)
        named = Distortion.named("modern")
        more = Distortion.from_dict(named.to_dict() | {"erasing_area": 0.9, "elastic_sigma": 4.0})
        assert_array_equal(more(images, 0), named(images, 0))

    @pytest.mark.skipif(dispatch.isa == "baseline", reason="there is no other instruction set")
    def test_of_the_baseline_differ_by_rounding_alone(self, tmp_path):
        """Its multiply-adds are rounded twice."""
        images = some_images(40, 3, 32, 32)
        code = (
            "import json, sys, numpy as np\n"
            "from lenet5c.datasets import Distortion\n"
            "images = np.load(sys.argv[1])\n"
            "distortion = Distortion.from_dict(json.loads(sys.argv[2]))\n"
            "np.save(sys.argv[3], distortion(images, 1))\n"
        )
        np.save(tmp_path / "images.npy", images)
        settings = EVERYTHING.to_dict() | {"mixup": 0.4}
        subprocess.run(
            [
                sys.executable,
                "-c",
                code,
                tmp_path / "images.npy",
                json.dumps(settings),
                tmp_path / "seen.npy",
            ],
            env=os.environ | {"LENET5C_ISA": "baseline"},
            check=True,
        )
        expected = Distortion.from_dict(settings)(images, 1)
        assert_allclose(np.load(tmp_path / "seen.npy"), expected, rtol=0, atol=0.05)


class TestNamed:
    @pytest.mark.parametrize("name", ["pictures", "pictures-noflip", "pictures-mixup"])
    def test_keep_a_picture_recognizable(self, name):
        """A distorted image is closer to its original than to others."""
        named = Distortion.named(name).to_dict() | {"flip": 0.0, "mixup": 0.0, "erasing": 0.0}
        rows, columns = np.mgrid[:32, :32] / 31
        waves = [np.sin(a * rows + b * columns) for a in (0, 3, 6) for b in (0, 3, 6)]
        images = (127 + 90 * np.array(waves))[:, None].repeat(3, axis=1).astype(np.uint8)
        for epoch in range(5):
            seen = Distortion.from_dict(named)(images, 0, epoch).reshape(9, -1)
            seen -= seen.mean(axis=1, keepdims=True)
            originals = images.reshape(9, -1) - images.reshape(9, -1).mean(axis=1, keepdims=True)
            originals = originals[1:] / np.linalg.norm(originals[1:], axis=1, keepdims=True)
            assert_array_equal((seen[1:] @ originals.T).argmax(axis=1), np.arange(8))

    def test_without_flips_differ_in_that_alone(self):
        flips, none = (Distortion.named(name).to_dict() for name in ("pictures", "pictures-noflip"))
        assert flips["flip"] == 0.5 and none["flip"] == 0 == none["flip_vertical"]
        assert flips | {"flip": 0.0} == none
