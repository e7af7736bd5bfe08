"""Settings, arrays and scratch for the functions of tests/consumer/consumer/calls.pyx."""

import numpy as np

from lenet5c import reference


class Scratch:
    """Memory of an exact size at an odd address, filled with NaN and guarded on both sides."""

    def __init__(self, size):
        assert size >= 0
        self.all = np.full(size + 130, 0xFF, np.uint8)
        self.memory = self.all[65 : 65 + size]

    def check(self):
        assert np.all(self.all[:65] == 0xFF) and np.all(self.all[65 + len(self.memory) :] == 0xFF)


def conv2d_settings(x, filters, stride=1, padding=0, dilation=1, groups=1, **others):
    pairs = {"stride": stride, "padding": padding, "dilation": dilation, **others}
    return {"x": x, "filters": filters, "groups": groups} | {
        key: reference.pair(v) for key, v in pairs.items()
    }


def window_settings(x, kernel_size, stride=1, padding=0, **others):
    settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding, **others}
    return {"x": x} | {
        key: v if key == "count_include_pad" else reference.pair(v) for key, v in settings.items()
    }


def values(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def flat_like(array):
    return np.full(array.size, np.nan, array.dtype)
