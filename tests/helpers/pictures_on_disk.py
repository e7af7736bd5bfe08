"""Folders of small pictures for tests."""

import numpy as np


def write_pictures(folder, count, size=(12, 12), channels=1, suffix=".png", seed=0):
    """Pictures of noise, 0.png and on; returns their arrays."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    arrays = np.random.default_rng([seed, count, *size]).integers(
        0, 256, (count, *shape), dtype=np.uint8
    )
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{i}{suffix}")
    return arrays
