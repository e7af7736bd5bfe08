"""The page's sliders: what they do to an image on its way into the net."""

from dataclasses import dataclass, fields
from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import resize
from lenet5c.demo.drawing import USUAL_WIDTH, WIDTH
from lenet5c.errors import UserError

# Lowest, highest and default value of each slider.
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
    """A slider's value is not in its range."""


@dataclass(frozen=True)
class Transform:
    """A warp of the net's input, and noise on it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.demo.transform import Transform
    >>> image = np.zeros((1, 5, 5), np.uint8)
    >>> image[0, 2, 1] = 200
    >>> Transform(shift_x=2, rotation=90).apply(image)[0, 1].tolist()
    [0, 0, 0, 0, 200]
    """

    width: float = USUAL_WIDTH  # of the pen, for `drawing.render` or `thicken`
    shift_x: float = 0.0  # pixels of the input, to the right
    shift_y: float = 0.0  # and down
    rotation: float = 0.0  # degrees, clockwise
    scale: float = 1.0  # factor of the size
    noise: float = 0.0  # standard deviation in units of 255 gray levels

    @classmethod
    def parse(cls, request: dict[str, Any]) -> "Transform":
        """Return the transform of a request; missing values are the defaults."""
        values, names = request.get("transform", {}), {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= names:
            raise TransformError(f"transform must have some of {', '.join(sorted(names))} only")
        for name, value in values.items():
            low, high, _ = RANGES[name]
            if type(value) not in (int, float) or not low <= value <= high:
                raise TransformError(
                    f"{name} must be a number from {low} to {high}, got {value!r:.40}"
                )
        return cls(**{name: float(value) for name, value in values.items()})

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Warp a fitted image (C, H, W) and add noise; with all defaults, return it itself."""
        warped: NDArray[Any] = image
        if (self.shift_x, self.shift_y, self.rotation, self.scale) != (0, 0, 0, 1):
            warped = self._warp(image)
        if self.noise:
            # Always the same, so that it does not flicker.
            noise = np.random.default_rng(1998).standard_normal(image.shape, np.float32)
            warped = warped + np.float32(255 * self.noise) * noise
        return image if warped is image else np.clip(warped + 0.5, 0, 255).astype(np.uint8)

    def _warp(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Take each pixel from where the inverse leads, between four pixels, black outside."""
        _, height, width = image.shape
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        y, x = np.mgrid[:height, :width].astype(np.float64)
        y, x = y - middle_y - self.shift_y, x - middle_x - self.shift_x
        c, s = cos(radians(self.rotation)) / self.scale, sin(radians(self.rotation)) / self.scale
        # Rounded: a quarter turn should not land between pixels.
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


def thicken(image: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    """Return an image (C, H, W) of a digit as if written with a pen of this width.

    Ink grows or shrinks by half the difference on each side, on a grid four times as fine.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.demo.transform import thicken
    >>> image = np.zeros((1, 12, 12), np.uint8)
    >>> image[0, :, 5:7] = 255
    >>> [round(float(thicken(image, width)[0, 6].sum() / 255), 1) for width in (1.4, 2.4, 4.4)]
    [1.0, 2.0, 4.0]
    """
    more = (width - USUAL_WIDTH) / 2 * UPSCALE
    radius = abs(more)
    if radius < 0.5:
        return image
    # Beyond the border there is paper.
    reach = int(radius) + UPSCALE
    border = -(-reach // UPSCALE)
    padded = np.pad(image, ((0, 0), (border, border), (border, border)))
    channels, height, across = padded.shape
    fine = resize(padded, (height * UPSCALE, across * UPSCALE))
    choose = np.maximum if more > 0 else np.minimum
    grown = fine.copy()
    n = int(radius + 0.5)
    for dy in range(-n, n + 1):
        for dx in range(-n, n + 1):
            if 0 < dy * dy + dx * dx <= (radius + 0.25) ** 2:
                # A shift of the whole image; what comes in at the other side is paper.
                choose(grown, np.roll(fine, (dy, dx), (1, 2)), out=grown)
    coarse = grown.reshape(channels, height, UPSCALE, across, UPSCALE).mean((2, 4))
    return (coarse + 0.5).astype(np.uint8)[:, border:-border, border:-border]
