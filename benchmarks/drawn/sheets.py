"""Sheets of MNIST digits, made by a seeded generator."""

import numpy as np
from drawn.hard_pictures import COLORS, lit
from PIL import Image


def sheet(
    dataset,
    rng,
    rows=8,
    columns=10,
    digit=48,
    gap=1.0,
    *,
    slope=0.0,
    jitter=0.1,
    color=True,
    light="even",
    noise=0.0,
    rules=None,
    sizes=(0.85, 1.15),
):
    """Return (picture uint8 (h, w, 3), labels as a list of lists).

    `gap` is the space between digits as a share of their size; 0 lets boxes of 20 pixels touch, and
    less overlap.
    """
    labels, step = [], digit * (1 + gap)
    height, width = round(digit * 2.2 * rows + digit), round(step * columns + 2 * digit)
    ink = np.zeros((height, width))
    if rules:
        paper_lines = np.zeros((height, width))
        distance = round(digit * (2.2 if rules == "ruled" else 0.55))
        thick = max(1, digit // 28)
        for y in range(distance // 2, height, distance):
            paper_lines[y : y + thick] = 0.45
        if rules == "squared":
            for x in range(distance // 2, width, distance):
                paper_lines[:, x : x + thick] = 0.45
        ink = paper_lines
    for r in range(rows):
        labels.append([])
        right = 0.8 * digit
        for _ in range(columns):
            j = int(rng.integers(len(dataset)))
            labels[-1].append(int(dataset.labels[j]))
            image = dataset.images[j, 0]
            lines, across = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
            crop = image[lines[0] : lines[-1] + 1, across[0] : across[-1] + 1]
            scale = digit / 20 * rng.uniform(*sizes)
            size = tuple(max(1, round(side * scale)) for side in crop.shape[::-1])
            small = (
                np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC), float)
                / 255
            )
            y = (
                digit
                + r * 2.2 * digit
                + (digit - size[1]) / 2
                + slope * right
                + digit * rng.uniform(-jitter, jitter)
            )
            top, left = (
                int(np.clip(round(y), 0, height - size[1])),
                int(np.clip(round(right), 0, width - size[0])),
            )
            part = ink[top : top + size[1], left : left + size[0]]
            np.maximum(part, small, out=part)
            right += size[0] + digit * gap * (rng.uniform(0.7, 1.3) if gap > 0 else 1)
    paper, pen = COLORS[rng.integers(len(COLORS))] if color else ((255,) * 3, (0,) * 3)
    picture = (
        np.array(paper, float) * (1 - ink[..., np.newaxis])
        + np.array(pen, float) * ink[..., np.newaxis]
    )
    picture *= lit(ink.shape, light, rng)[..., np.newaxis]
    if noise:
        picture += rng.normal(0, noise, picture.shape)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), labels
