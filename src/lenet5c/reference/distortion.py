"""Distortions of training images: a random affine map, and an elastic field.

Each output pixel is interpolated between four pixels of the image, at the position given by the
inverse of the map::

    out[c, y, x] = image[c, v, u], bilinear between pixels
    (u, v) = center + M ((x, y) - center - shift) + field[:, y, x]

and with a crop, (u, v) is in a window of the image. The changes of `augmentation` follow.

Random numbers are hashes, so that they depend only on the seed, the epoch and the number of the
sample, not on the order in which samples are drawn. A sample has a key of 64 bits, and its draw
number n is a hash of the key and n, by splitmix64 (Steele, Lea and Flood, 2014). The noise of the
fields is a 32-bit hash of the key and the position.

Shapes: image (C, H, W), gray levels; field (2, H, W), pixels to the right and down. `settings` is
what `lenet5c.datasets.Distortion.to_dict` returns.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array
from lenet5c.reference.augmentation import change_colors, erase, mix_share

WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio
NOISE, ERASED = 8, 25  # the numbers of the draws that the noise and erased pixels start from
DRAWS = 27


def distortion_keys(seed: int, epoch: int, count: int) -> list[int]:
    """Return the keys of the first samples of a data set in one epoch.

    Parameters
    ----------
    seed, epoch, count : int

    Returns
    -------
    list of int
        From 0 to 2^64 - 1.
    """
    words = np.random.SeedSequence([seed, 3, epoch]).generate_state(1, np.uint64)
    return [_draw(int(words[0]), sample) for sample in range(count)]


def distortion_draws(key: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Draw the distortion of one sample: each number is uniform in the range of the settings.

    Parameters
    ----------
    key : int
    settings : mapping of str to float
        'outside' is a str.

    Returns
    -------
    dict of str to float
        'distorted', 'flipped', 'flipped_vertical', 'gray' and 'erased' are true or false; 'right'
        and 'down' pixels; 'scaling' a factor of both axes, 'squeeze' one of the width and the
        inverse of one of the height; 'shear' a tangent; 'rotation' and 'hue' degrees; 'side' that
        of a crop as a fraction of the image's; 'brightness', 'contrast' and 'saturation' factors;
        'erased_area' a fraction of the image's, 'erased_ratio' the height of the rectangle divided
        by its width; 'share' the fraction of the image in its mixture. The positions of the crop
        and of the rectangle are fractions of the range from one end to the other.
    """
    share = [(_draw(key, number) >> 11) / 2**53 for number in range(DRAWS)]  # from 0 to 1
    signed = [2 * each - 1 for each in share]
    padding = settings["crop_padding"]
    distorted = share[0] < settings["probability"]
    largest = settings["erasing_area"]
    least = min(0.02, largest)
    ratio = 1 - 0.7 * abs(signed[22])
    return {
        "distorted": distorted,
        "flipped": share[1] < settings["flip"],
        "flipped_vertical": share[9] < settings["flip_vertical"],
        "right": signed[2] * settings["translation"] + int(share[10] * (2 * padding + 1)) - padding,
        "down": signed[3] * settings["translation"] + int(share[11] * (2 * padding + 1)) - padding,
        "scaling": 1 + signed[4] * settings["scaling"],
        "squeeze": 1 + signed[5] * settings["squeeze"],
        "shear": signed[6] * settings["shear"],
        "rotation": signed[7] * settings["rotation"],
        "side": np.sqrt(1 - settings["crop"] * share[12]),
        "crop_right": share[13],
        "crop_down": share[14],
        "brightness": 1 + signed[15] * settings["brightness"],
        "contrast": 1 + signed[16] * settings["contrast"],
        "saturation": 1 + signed[17] * settings["saturation"],
        "hue": signed[18] * settings["hue"],
        "gray": share[19] < settings["grayscale"],
        "erased": share[20] < settings["erasing"],
        "erased_area": least + share[21] * (largest - least),
        "erased_ratio": ratio if signed[22] >= 0 else 1 / ratio,
        "erased_right": share[23],
        "erased_down": share[24],
        "share": mix_share(share[26], settings["mixup"]) if distorted else 1.0,
    }


def distortion_map(draws: Mapping[str, float]) -> Array:
    """Return M, the inverse of the map of an image: scaled, sheared, rotated, then mirrored.

    Parameters
    ----------
    draws : mapping of str to float
        As returned by `distortion_draws`.

    Returns
    -------
    ndarray of float64 (2, 2)
        Maps (x, y) of an output pixel, relative to the center, to (u, v) of the image.

    Examples
    --------
    >>> from lenet5c import reference
    >>> still = {"scaling": 1, "squeeze": 1, "shear": 0, "rotation": 0}
    >>> still |= {"flipped": False, "flipped_vertical": False}
    >>> reference.distortion_map(still | {"scaling": 2})  # twice as large: half as far in the image
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    angle = np.radians(draws["rotation"])
    scaling = np.diag([draws["scaling"] * draws["squeeze"], draws["scaling"] / draws["squeeze"]])
    shear = np.array([[1, draws["shear"]], [0, 1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([-1 if draws[axis] else 1 for axis in ("flipped", "flipped_vertical")])
    return mirror @ np.linalg.inv(rotation @ shear @ scaling)


def distortion_noise(key: int, H: int, W: int) -> Array:
    """Draw noise that is uniform from -1 to 1 and independent for each pixel.

    Parameters
    ----------
    key : int
    H, W : int

    Returns
    -------
    ndarray of float64 (2, H, W)
    """
    between, before = divmod(_draw(key, NOISE), 2**32)
    noise = np.empty((2, H, W))
    for y, axis, x in np.ndindex(H, 2, W):
        n = ((2 * y + axis) * W + x + before) % 2**32
        noise[axis, y, x] = (_scramble(n, between) >> 8) / 2**23 - 1
    return noise


def distortion_field(key: int, settings: Mapping[str, float], H: int, W: int) -> Array:
    """Smooth the noise of a sample into an elastic field.

    ::

        field[:, y, x] = elastic * sum over i, j of
            gaussian[i] * gaussian[j] * noise[:, y + i, x + j]

    where the noise is 0 outside the image, and the Gaussian is cut off at three standard
    deviations.

    Parameters
    ----------
    key : int
    settings : mapping of str to float
        'elastic' is the factor, 'elastic_sigma' the standard deviation of the Gaussian in pixels.
    H, W : int

    Returns
    -------
    ndarray of float64 (2, H, W)
        The displacement of each pixel, to the right and down.

    References
    ----------
    Simard, Steinkraus and Platt (2003), Best practices for convolutional neural networks,
    section 2.
    """
    sigma = settings["elastic_sigma"]
    radius = int(np.ceil(3 * sigma))
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    gaussian /= gaussian.sum()
    noise = np.pad(distortion_noise(key, H, W), ((0, 0), (radius, radius), (radius, radius)))
    field = np.zeros((2, H, W))
    for i, vertical in enumerate(gaussian):
        for j, horizontal in enumerate(gaussian):
            field += vertical * horizontal * noise[:, i : i + H, j : j + W]
    return settings["elastic"] * field


def distort(image: ArrayLike, key: int, settings: Mapping[str, Any]) -> Array:
    """Return a sample as distorted in training, before it is mixed with another.

    Parameters
    ----------
    image : array_like (C, H, W)
    key : int
        The key of the sample, from `distortion_keys`.
    settings : mapping of str to float

    Returns
    -------
    ndarray of float64 (C, H, W)

    References
    ----------
    LeCun et al. (1998), section III-A, for the affine map.
    """
    image = np.asarray(image, np.float64)
    draws = distortion_draws(key, settings)
    if not draws["distorted"]:
        return image.copy()
    out = change_colors(_warp(image, key, draws, settings), draws)
    return erase(out, draws, _erased_bytes(key, out.shape))


def _warp(image: Array, key: int, draws: Mapping[str, float], settings: Mapping[str, Any]) -> Array:
    _, H, W = image.shape
    M = distortion_map(draws)
    field = distortion_field(key, settings, H, W) if settings["elastic"] else np.zeros((2, H, W))
    center = np.array([(W - 1) / 2, (H - 1) / 2])
    shift = np.array([draws["right"], draws["down"]])
    side = draws["side"]
    corner = (1 - side) * np.array([W * draws["crop_right"], H * draws["crop_down"]])
    mode: Literal["constant", "edge"] = "constant" if settings["outside"] == "black" else "edge"
    framed = np.pad(image, ((0, 0), (1, 2), (1, 2)), mode)
    out = np.empty_like(image)
    for y, x in np.ndindex(H, W):
        place = center + M @ (np.array([x, y]) - center - shift)
        # From the edge of the first pixel, half a pixel before it.
        u, v = corner + side * (place + 0.5) - 0.5 + field[:, y, x]
        if settings["outside"] == "reflect":
            u, v = (end - abs(end - abs(each)) for each, end in ((u, W - 1), (v, H - 1)))
        u, v = np.clip(u, -1, W) + 1, np.clip(v, -1, H) + 1  # in the frame
        out[:, y, x] = _bilinear(framed, u, v)
    return out


def _erased_bytes(key: int, shape: tuple[int, ...]) -> Array:
    """Draw a byte for each pixel of an image (C, H, W)."""
    between, before = divmod(_draw(key, ERASED), 2**32)
    places = range(int(np.prod(shape)))
    noise = [_scramble((place + before) % 2**32, between) >> 24 for place in places]
    return np.array(noise, np.float64).reshape(shape)


def _bilinear(image: Array, u: float, v: float) -> Array:
    """Interpolate an image (C, H, W) at column u and row v, neither of them negative: (C,)."""
    i, j = int(v), int(u)
    right, down = u - j, v - i
    top = (1 - right) * image[:, i, j] + right * image[:, i, j + 1]
    bottom = (1 - right) * image[:, i + 1, j] + right * image[:, i + 1, j + 1]
    return (1 - down) * top + down * bottom


def _draw(key: int, number: int) -> int:
    """Hash a key and a number to 64 bits, by splitmix64."""
    z = (key + (number + 1) * GOLDEN) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def _scramble(n: int, between: int) -> int:
    """Hash a number to 32 bits."""
    n = (n ^ n >> 16) * 0x7FEB352D % 2**32
    n = ((n ^ n >> 15) + between) * 0x846CA68B % 2**32
    return n ^ n >> 16
