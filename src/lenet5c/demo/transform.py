"""What the page's sliders do to an image on its way into the net."""

from dataclasses import dataclass, fields
from math import cos, isfinite, radians, sin

import numpy as np

from lenet5c.datasets import resize
from lenet5c.demo.drawing import USUAL_WIDTH, WIDTH
from lenet5c.errors import UserError

# Lowest, highest and usual value of each slider.
RANGES = {
    "width": (*WIDTH, USUAL_WIDTH),
    "shift_x": (-10, 10, 0),
    "shift_y": (-10, 10, 0),
    "rotation": (-180, 180, 0),
    "scale": (0.4, 1.8, 1),
    "noise": (0, 1, 0),
}
UPSCALE = 4


class TransformError(UserError):
    """A slider's value is not one of its range."""


@dataclass(frozen=True)
class Transform:
    """A warp of the net's input, and noise on it.

    Attributes
    ----------
    width : float
        Of the pen; it acts on the drawing, before it is prepared, in `drawing.render` or `thickened`.
    shift_x, shift_y : float
        Pixels of the input, to the right and down.
    rotation : float
        Degrees, clockwise.
    scale : float
        Factor of the size.
    noise : float
        Standard deviation of Gaussian noise, in units of 255 grey levels; the noise itself is always the same, so that
        it does not flicker.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.demo.transform import Transform
    >>> image = np.zeros((1, 5, 5), np.uint8)
    >>> image[0, 2, 1] = 200
    >>> Transform(shift_x=2, rotation=90).apply(image)[0, 1].tolist()
    [0, 0, 0, 0, 200]
    """

    width: float = USUAL_WIDTH
    shift_x: float = 0.0
    shift_y: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    noise: float = 0.0

    @classmethod
    def checked(cls, values):
        """From a request; what is missing is as usual.

        Raises
        ------
        TransformError
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= names:
            raise TransformError(
                f"the transform should be an object with some of {', '.join(sorted(names))}"
            )
        for name, value in values.items():
            low, high, _ = RANGES[name]
            if type(value) not in (int, float) or not low <= value <= high or not isfinite(value):
                raise TransformError(
                    f"{name} is {value!r:.40}; it should be a number from {low} to {high}"
                )
        return cls(**{name: float(value) for name, value in values.items()})

    def apply(self, image):
        """Warp and disturb a fitted image, uint8 (C, H, W). With all sliders as usual it is returned as it is."""
        warped = image
        if (self.shift_x, self.shift_y, self.rotation, self.scale) != (0, 0, 0, 1):
            warped = self._warped(image)
        if self.noise:
            warped = warped + np.float32(255 * self.noise) * _noise(image.shape)
        if warped is image:
            return image
        return np.clip(warped + 0.5, 0, 255).astype(np.uint8)

    def _warped(self, image):
        """Each pixel from where the inverse leads to, between four pixels, black outside: float32 (C, H, W)."""
        _, height, width = image.shape
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        y, x = np.mgrid[:height, :width].astype(np.float64)
        y, x = y - middle_y - self.shift_y, x - middle_x - self.shift_x
        c, s = cos(radians(self.rotation)) / self.scale, sin(radians(self.rotation)) / self.scale
        # Rounded: a quarter turn should not fall between pixels.
        from_x = np.round(c * x + s * y + middle_x, 9)
        from_y = np.round(c * y - s * x + middle_y, 9)
        # One black pixel around the image stands for all outside.
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
        from_x, from_y = np.clip(from_x, -1, width) + 1, np.clip(from_y, -1, height) + 1
        left, top = np.minimum(from_x.astype(int), width), np.minimum(from_y.astype(int), height)
        right, below = (from_x - left).astype(np.float32), (from_y - top).astype(np.float32)
        upper = padded[:, top, left] * (1 - right) + padded[:, top, left + 1] * right
        lower = padded[:, top + 1, left] * (1 - right) + padded[:, top + 1, left + 1] * right
        return upper * (1 - below) + lower * below


def _noise(shape):
    return np.random.default_rng(1998).standard_normal(shape, np.float32)


def thickened(image, width):
    """An image of a digit, uint8 (C, H, W), as if written with a pen of another width than the usual.

    Ink grows or shrinks by half the difference on each side, on a grid four times as fine.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.demo.transform import thickened
    >>> image = np.zeros((1, 12, 12), np.uint8)
    >>> image[0, :, 5:7] = 255
    >>> [round(float(thickened(image, width)[0, 6].sum() / 255), 1) for width in (1.4, 2.4, 4.4)]
    [1.0, 2.0, 4.0]
    """
    more = (width - USUAL_WIDTH) / 2 * UPSCALE
    radius = abs(more)
    if radius < 0.5:
        return image
    channels, height, across = image.shape
    # Beyond the border there is paper.
    reach = int(radius) + UPSCALE
    border = -(-reach // UPSCALE)
    padded = np.pad(image, ((0, 0), (border, border), (border, border)))
    size = tuple(side * UPSCALE for side in padded.shape[1:])
    fine = resize(padded, size)
    choose = np.maximum if more > 0 else np.minimum
    grown = fine.copy()
    n = int(radius + 0.5)
    for dy in range(-n, n + 1):
        for dx in range(-n, n + 1):
            if 0 < dy * dy + dx * dx <= (radius + 0.25) ** 2:
                # A shift of the whole image; what comes in at the other side is paper.
                choose(grown, np.roll(fine, (dy, dx), (1, 2)), out=grown)
    coarse = grown.reshape(
        channels, height + 2 * border, UPSCALE, across + 2 * border, UPSCALE
    ).mean((2, 4))
    return (coarse + 0.5).astype(np.uint8)[:, border : border + height, border : border + across]
