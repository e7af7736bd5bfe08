"""The grey picture in which ink shows best."""

import numpy as np

from lenet5c.datasets.whole import grey
from lenet5c.recognition.digit import reduced
from lenet5c.recognition.paper import noise_of, smoothed

#: How much more a colour must show than brightness does to be preferred.
CLEARLY = 1.5


def reduced_grey(picture, factor):
    """A picture, uint8 (h, w) or (h, w, 3), as grey levels, a side reduced by `factor`.

    Brightness is what is looked at, unless one of red, green and blue shows clearly more: yellow on white does in
    blue, and in nothing else.
    """
    if picture.ndim == 2:
        return reduced(picture, factor)
    planes = [reduced(picture[..., i], factor) for i in range(3)]
    luma = grey(np.stack(planes, axis=-1))
    if all(np.array_equal(plane, luma) for plane in planes):
        return luma
    shown = [_shown(plane) for plane in (luma, *planes)]
    best = int(np.argmax(shown[1:]))
    return planes[best] if shown[1 + best] > CLEARLY * shown[0] else luma


def _shown(plane):
    """How far the ink stands out from the paper, over the noise."""
    factor = -(-max(plane.shape) // 160)
    small = reduced(plane, factor).astype(np.float32)
    wide = small
    for _ in range(2):
        wide = smoothed(wide)
    low, high = np.quantile(wide, [0.002, 0.998])
    return (float(high) - float(low)) / (noise_of(small) + 4.0)
