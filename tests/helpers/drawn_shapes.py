"""Pictures of circles, squares, triangles, stars and crosses, in a folder per class.

    python tests/helpers/drawn_shapes.py FOLDER [--count 200] [--seed 0] [--size 64 48]

Color, ground, size, place and angle of each shape are drawn at random, and so is noise on every
pixel. Ground and shape differ by at least `CONTRAST` levels in some channel.
"""

import argparse
from pathlib import Path

import numpy as np

SHAPES = ("circle", "cross", "square", "star", "triangle")
CONTRAST = 64  # gray levels of 255, in the channel in which ground and shape differ most
NOISE = 16  # standard deviation in gray levels
MINIMUM, MAXIMUM = 0.16, 0.42  # radius, as a share of the picture's shorter side
FINE = 4  # pixels of the drawing for one of the picture, which softens edges


def corners(shape):
    """Corners of a shape of radius 1 about the origin, (n, 2)."""
    if shape == "cross":
        arm = 1 / 3
        quarter = np.array([[arm, 1], [arm, arm], [1, arm]]) * 0.95
        points = [quarter @ np.array([[0, -1], [1, 0]]).T]
        for _ in range(3):
            points.append(points[-1] @ np.array([[0, -1], [1, 0]]))
        return np.concatenate(points)
    count, inner = {"circle": (60, 1), "square": (4, 1), "star": (10, 0.42), "triangle": (3, 1)}[
        shape
    ]
    angle = 2 * np.pi * np.arange(count) / count
    radius = np.where(np.arange(count) % 2 == 0, 1, inner)
    return radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def draw(shape, rng, size=(64, 48)):
    """Return a picture (H, W, 3) of uint8."""
    from PIL import Image, ImageDraw

    width, height = size
    while True:
        ground, color = rng.integers(0, 256, (2, 3))
        if abs(ground - color).max() >= CONTRAST:
            break
    radius = min(size) * rng.uniform(MINIMUM, MAXIMUM)
    center = [rng.uniform(radius, side - radius) for side in size]
    turn = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (corners(shape) @ matrix * radius + center) * FINE
    canvas = Image.new("RGB", (width * FINE, height * FINE), tuple(map(int, ground)))
    ImageDraw.Draw(canvas).polygon(list(map(tuple, points)), fill=tuple(map(int, color)))
    pixels = np.asarray(canvas.resize(size, Image.Resampling.BOX), np.float64)
    noisy = pixels + NOISE * rng.standard_normal(pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def draw_folder(folder, count=200, seed=0, size=(64, 48)):
    """Write `count` pictures of each shape as PNG."""
    from PIL import Image

    for number, shape in enumerate(SHAPES):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, number])
        for i in range(count):
            Image.fromarray(draw(shape, rng, size)).save(folder / shape / f"{i:04}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 48))
    options = parser.parse_args()
    draw_folder(options.folder, options.count, options.seed, tuple(options.size))


if __name__ == "__main__":
    main()
