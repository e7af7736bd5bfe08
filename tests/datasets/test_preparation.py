import json
import math

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.datasets import Preparation, mnist
from lenet5c.datasets import preparation as module
from lenet5c.datasets.resampling import resize_matrix


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ---- fitting ----


def test_equal_size_is_not_copied():
    images = random_images(3, 1, 28, 28)
    for fit in ("pad", "resize"):
        assert Preparation(size=(28, 28), fit=fit).fit_images(images) is images


@pytest.mark.parametrize(
    ("source", "size", "top", "left"),
    [((28, 28), (32, 32), 2, 2), ((3, 2), (4, 5), 0, 1), ((1, 4), (4, 4), 1, 0)],
)
def test_padding_is_centred_with_the_rest_at_bottom_right(source, size, top, left):
    images = random_images(2, 3, *source) | 1
    padded = Preparation(size=size).fit_images(images)
    height, width = source
    expected = np.zeros((2, 3, *size), np.uint8)
    expected[:, :, top : top + height, left : left + width] = images
    np.testing.assert_array_equal(padded, expected, strict=True)


@pytest.mark.parametrize("source", [(33, 20), (20, 33)])
def test_padding_a_larger_image_names_the_remedy(source):
    with pytest.raises(ValueError, match=r"at most 32 by 32.*fit='resize'"):
        Preparation(size=(32, 32)).fit_images(random_images(1, 1, *source))


def naive_resize(image, size):
    """Resample with a triangle about pixel centres, as wide as the ratio but at least 1."""
    taps = []
    for length, source in zip(size, image.shape, strict=True):
        ratio = source / length
        width = max(ratio, 1)
        matrix = np.zeros((length, source))
        for i in range(length):
            for j in range(source):
                matrix[i, j] = max(0, 1 - abs((j + 0.5) - (i + 0.5) * ratio) / width)
            matrix[i] /= matrix[i].sum()
        taps.append(matrix)
    return taps[0] @ image @ taps[1].T


@pytest.mark.parametrize("source", [(28, 28), (7, 13), (1, 1), (64, 50), (28, 100), (200, 9)])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (5, 40)])
def test_resize_matches_the_naive_filter(source, size):
    images = random_images(2, 2, *source)
    resized = Preparation(size=size, fit="resize").fit_images(images)
    assert resized.dtype == np.uint8 and resized.shape == (2, 2, *size)
    for n in range(2):
        for c in range(2):
            exact = naive_resize(images[n, c].astype(np.float64), size)
            assert np.abs(resized[n, c] - exact).max() <= 0.5 + 1e-3


def test_enlarging_interpolates_between_pixel_centres():
    """Positions, neighbours and border as cv2.resize has them for INTER_LINEAR."""
    image = random_images(1, 1, 28, 28)[0, 0].astype(np.float64)
    position = np.clip((np.arange(32) + 0.5) * 28 / 32 - 0.5, 0, 27)
    low = np.minimum(position.astype(int), 26)
    part = position - low
    across = image[:, low] * (1 - part) + image[:, low + 1] * part
    expected = across[low] * (1 - part)[:, None] + across[low + 1] * part[:, None]
    resized = Preparation(size=(32, 32), fit="resize").fit_images(
        image.astype(np.uint8)[None, None]
    )
    # The weights for 28 to 32 are sixteenths: this is exact.
    np.testing.assert_array_equal(resized[0, 0], np.floor(expected + 0.5))


def test_resize_rounds_half_up():
    image = np.array([[1, 2, 4]], np.uint8)[None, None]
    prepare = Preparation(size=(1, 6), fit="resize")
    assert prepare.fit_images(image)[0, 0, 0].tolist() == [1, 1, 2, 3, 4, 4]  # 2.5 becomes 3


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("source", [(28, 28), (301, 17)])
def test_resize_keeps_a_constant_image(source, value):
    images = np.full((1, 1, *source), value, np.uint8)
    assert np.all(Preparation(size=(32, 30), fit="resize").fit_images(images) == value)


def test_shrinking_passes_no_pixel_over():
    images = np.zeros((1, 1, 280, 280), np.uint8)
    images[..., ::2] = 255
    resized = Preparation(size=(28, 28), fit="resize").fit_images(images)
    assert np.abs(resized.astype(int) - 127.5).max() < 8


def test_resize_in_chunks_equals_one_by_one():
    images = random_images(1000, 1, 28, 28)
    prepare = Preparation(size=(32, 32), fit="resize")
    resized = prepare.fit_images(images)
    for n in (0, 255, 256, 257, 999):
        np.testing.assert_array_equal(resized[n : n + 1], prepare.fit_images(images[n : n + 1]))


def test_resize_sums_are_exact():
    for source, size in [(28, 32), (301, 17), (3, 1000), (1024, 28)]:
        matrix = resize_matrix(size, source)
        assert np.all(matrix >= 0)
        assert np.all(matrix * 2**20 == np.rint(matrix * 2**20))
        assert np.all([math.fsum(row) == 1.0 for row in matrix])


# ---- values ----


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("with_mean_image", [False, True])
@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), (0.5, 1.0), (0.0, 1 / 255)])
def test_values_to_the_bit(channels, with_mean_image, mean, std):
    mean_image = None
    if with_mean_image:
        mean_image = np.random.default_rng(1).uniform(0, 255, (channels, 8, 8)).astype(np.float32)
    prepare = Preparation((8, 8), mean=mean, std=std, mean_image=mean_image)
    images = random_images(5, channels, 6, 7)
    pixels = prepare.fit_images(images)

    scale = np.float32(1 / (255 * std))
    plane = np.full((channels, 8, 8), -mean / std)
    if with_mean_image:
        plane = plane - mean_image.astype(np.float64) * float(scale)
    offset = plane.astype(np.float32)
    assert prepare.scale == scale and prepare.scale.dtype == np.float32
    np.testing.assert_array_equal(prepare.offset(channels), offset, strict=True)
    product = pixels.astype(np.float32) * scale
    np.testing.assert_array_equal(prepare(images), product + offset, strict=True)

    formula = ((pixels - (mean_image if with_mean_image else 0.0)) / 255 - mean) / std
    np.testing.assert_allclose(prepare(images), formula, rtol=1e-5, atol=2e-5 * float(scale) * 255)


def test_samples_are_the_values_on_their_way(monkeypatch):
    prepare, images = Preparation.named("default"), random_images(5, 1, 28, 28)
    batch = prepare.samples(images, [3, 0])
    assert batch.images.dtype == np.uint8 and batch.shape == (1, 32, 32)
    np.testing.assert_array_equal(batch.values(), prepare(images)[[3, 0]], strict=True)
    # One place has the product and the sum.
    monkeypatch.setattr(type(batch), "values", lambda self: self.images)
    np.testing.assert_array_equal(prepare(images), prepare.fit_images(images), strict=True)


def test_strided_and_read_only_images():
    images = random_images(4, 1, 28, 56)[::2, :, :, ::2]
    images.flags.writeable = False
    for name in ("default", "resized-centered", "unit-range"):
        prepare = Preparation.named(name)
        np.testing.assert_array_equal(prepare(images), prepare(np.ascontiguousarray(images)))


def test_no_images_give_no_values():
    assert Preparation.named("resized-centered")(np.zeros((0, 1, 28, 28), np.uint8)).shape == (
        0,
        1,
        32,
        32,
    )


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ([[0]], TypeError),
        (np.zeros((1, 1, 28, 28), np.float32), ValueError),
        (np.zeros((1, 28, 28), np.uint8), ValueError),
        (np.zeros((1, 1, 0, 28), np.uint8), ValueError),
    ],
)
def test_images_are_checked(images, error):
    with pytest.raises(error, match="images must (be|have)"):
        Preparation.named("default")(images)


def test_channels_must_match_the_mean_image():
    prepare = Preparation((4, 4), mean_image=np.zeros((3, 4, 4), np.float32))
    with pytest.raises(ValueError, match="must have the 3 channels.*got 1"):
        prepare(random_images(1, 1, 4, 4))


@in_one_test
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 32}, ValueError, "size must be a pair"),
        ({"size": "32"}, ValueError, "size must be a pair"),
        ({"size": (32,)}, ValueError, "size must be a pair"),
        ({"size": (0, 32)}, ValueError, "size must be two ints"),
        ({"size": (32, 10**9)}, ValueError, "size must be two ints"),
        ({"size": (32.0, 32)}, ValueError, "size must be two ints"),
        ({"fit": "crop"}, ValueError, "fit must be 'pad' or 'resize', got 'crop'"),
        ({"fit": None}, ValueError, "fit must be"),
        ({"mean": "0"}, TypeError, "mean must be a float"),
        ({"mean": math.nan}, ValueError, "mean must be finite"),
        ({"mean": 10**400}, ValueError, "mean must be finite"),
        ({"mean": 1e300}, ValueError, "finite float32"),
        ({"std": 0}, ValueError, "std must be positive"),
        ({"std": -1.0}, ValueError, "std must be positive"),
        ({"std": 1e-300}, ValueError, "std must be positive"),
        ({"std": 1e300}, ValueError, "std must be positive"),
        ({"std": 1e-40, "mean": 0.0}, ValueError, "finite float32"),
        ({"std": math.inf}, ValueError, "std must be finite"),
        ({"std": True}, TypeError, "std must be a float"),
        ({"mean_image": [[1.0]]}, TypeError, "mean_image must be a float32 array"),
        ({"mean_image": np.zeros((1, 4, 4), bool)}, TypeError, "mean_image must be"),
        ({"mean_image": np.zeros((4, 4), np.float32)}, ValueError, "mean_image must have shape"),
        ({"mean_image": np.zeros((1, 5, 4), np.float32)}, ValueError, "mean_image must have shape"),
        ({"mean_image": np.zeros((0, 4, 4), np.float32)}, ValueError, "mean_image must have shape"),
        ({"mean_image": np.full((1, 4, 4), np.nan, np.float32)}, ValueError, "finite float32"),
        ({"mean_image": np.full((1, 4, 4), np.inf)}, ValueError, "finite float32"),
    ],
)
def test_errors_name_the_argument(changes, error, message):
    values = {"size": (4, 4), "fit": "pad", "mean": 0.1, "std": 0.2, "mean_image": None}
    values.update(changes)
    with pytest.raises(error, match=message):
        Preparation(**values)
    if "mean_image" not in changes:
        with pytest.raises(error, match=message):
            Preparation.from_dict({**values, "mean_image": False})


# ---- dicts ----


@pytest.mark.parametrize("name", Preparation.NAMES)
def test_a_round_trip_through_json_keeps_every_bit(name):
    images = random_images(6, 1, 28, 28)
    prepare = Preparation.named(name, images)
    values = json.loads(json.dumps(prepare.to_dict()))
    again = Preparation.from_dict(values, prepare.mean_image)
    assert again.to_dict() == prepare.to_dict()
    np.testing.assert_array_equal(again(images), prepare(images), strict=True)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (None, TypeError, "values must be a dict"),
        ({}, ValueError, "missing: fit, mean, mean_image, size, std"),
        ({**Preparation.named("default").to_dict(), "gamma": 2}, ValueError, "unknown: 'gamma'"),
        ({**Preparation.named("default").to_dict(), 3: 2}, ValueError, "unknown: 3"),
        (
            {**Preparation.named("default").to_dict(), "mean_image": True},
            ValueError,
            "without a mean_image",
        ),
        ({**Preparation.named("default").to_dict(), "mean_image": 0}, ValueError, "mean_image"),
    ],
)
def test_from_dict_refuses(values, error, message):
    with pytest.raises(error, match=message):
        Preparation.from_dict(values)


def test_from_dict_refuses_an_unannounced_mean_image():
    with pytest.raises(ValueError, match="with a mean_image"):
        Preparation.from_dict(
            Preparation.named("default").to_dict(), np.zeros((1, 32, 32), np.float32)
        )


# ---- names ----


@pytest.mark.parametrize(
    ("name", "size", "black", "white"),
    [
        ("default", 32, -0.1307 / 0.3081, (1 - 0.1307) / 0.3081),
        ("resized-centered", 32, -0.5, 0.5),
        ("unit-range", 28, 0.0, 1.0),
        ("double-range", 28, -0.1, 1.9),
        ("resized", 32, -0.1307 / 0.3081, (1 - 0.1307) / 0.3081),
    ],
)
def test_named_ranges(name, size, black, white):
    images = np.zeros((1, 1, 28, 28), np.uint8)
    images[..., 10:20, 10:20] = 255
    values = Preparation.named(name)(images)
    assert values.shape == (1, 1, size, size)
    assert values.min() == pytest.approx(black, abs=1e-6)
    assert values.max() == pytest.approx(white, abs=1e-6)


def test_mean_image_subtracts_the_mean_image_in_gray_levels():
    train, test = mnist()
    train, _ = train.split_last(1000)
    prepare = Preparation.named("mean-image", train.images)
    assert prepare.scale == 1
    assert prepare.mean_image.shape == (1, 32, 32) and prepare.mean_image.dtype == np.float32
    expected = np.pad(train.images[:, 0].mean(axis=0, dtype=np.float64), 2)
    np.testing.assert_allclose(prepare.mean_image[0], expected, rtol=1e-6)
    values = prepare(test.images[:10])
    padded = np.pad(test.images[:10, 0].astype(np.float64), ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_allclose(values[:, 0], padded - expected, atol=1e-4)


@pytest.mark.parametrize("images", [None, np.zeros((0, 1, 28, 28), np.uint8)])
def test_mean_image_needs_images(images):
    with pytest.raises(ValueError, match="train_images must be passed"):
        Preparation.named("mean-image", images)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(
        ValueError,
        match="default, mean-image, resized, resized-centered, unit-range, double-range, "
        "paper1998, got 'sharp'",
    ):
        Preparation.named("sharp")
    assert module.NAMES == Preparation.NAMES
