"""Default settings derived from the images: the recipe and the input size."""

from typing import Any

from lenet5c.datasets import Dataset
from lenet5c.datasets.resampling import fit_size
from lenet5c.kernels.shapes import pair
from lenet5c.nn.kind import Kind, one_or_each

#: Value of `input_size` for the size of the images.
OWN = "images"
#: Minimum and maximum side of an input of the size of the images.
MINIMUM, MAXIMUM = 32, 96
#: Minimum of the shorter side if the longer one is at least `MINIMUM`.
SHORT = 16
#: Minimum side of images that are padded; smaller ones are enlarged.
PADDED = 20
#: Maximum side of gray images for the recipe 'default'.
LARGE = 48

_SIDES = one_or_each(1, 1024, "height and for width", count=2)
SIZE = Kind(
    f"{_SIDES.form}, or {OWN}",
    lambda value: value == OWN or _SIDES.accepts(value),
    lambda text: text if text == OWN else _SIDES.parse(text),
    "N",
    several=True,
    normal=_SIDES.normal,
)


def choose_recipe(images: Any) -> str:
    """Return the name of the default recipe for images (N, C, H, W)."""
    channels, *size = images.shape[1:]
    return "small-color" if channels > 1 or max(size) > LARGE else "default"


def describe_choice(dataset: Dataset) -> str:
    """Return the reason for choosing the recipe small-color, for a note."""
    channels, height, width = dataset.images.shape[1:]
    color = "in color" if channels > 1 else "gray"
    return (
        f"its images are {color}, {height} x {width} pixels: using the recipe small-color; with "
        "--recipe default, they are resized for LeNet-5"
    )


def choose_size(asked: Any, size: tuple[int, int]) -> tuple[tuple[int, int], str]:
    """Return (height, width) of the input, and how images of `size` are fitted to it.

    Images that are smaller than the input and have at least 20 pixels per side are padded, others
    are resized. If the input has the size of the images, the aspect ratio is preserved: images of
    up to 96 pixels are not resized unless they are very small, larger ones are reduced to a longer
    side of 96.
    """
    if asked != OWN:
        height, width = pair(asked, "input_size", 1)
        fits = size[0] <= height and size[1] <= width
        return (height, width), "pad" if fits and min(size) >= PADDED else "resize"
    longer = max(size)
    if longer > MAXIMUM or longer < PADDED:
        side = MAXIMUM if longer > MAXIMUM else MINIMUM
        size = fit_size(size, (side, side))
        return (max(size[0], SHORT), max(size[1], SHORT)), "resize"
    least = MINIMUM if min(size) >= PADDED else SHORT
    return (max(size[0], least), max(size[1], least)), "pad"
