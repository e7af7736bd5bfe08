"""Pictures without a digit, of many kinds, by a seeded generator: uint8, (h, w) or (h, w, 3)."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def blank(rng, side):
    return np.full((side, side), rng.integers(0, 256), np.uint8)


def noisy_paper(rng, side):
    return _bytes(rng.integers(30, 230) + rng.normal(0, rng.uniform(1, 20), (side, side)))


def sloping_light(rng, side):
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = (
        150
        + 90 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))
        - 60 * rng.random() * (x**2 + y**2)
    )
    return _bytes(light + rng.normal(0, rng.uniform(0, 8), light.shape))


def jpeg_paper(rng, side):
    file = io.BytesIO()
    Image.fromarray(sloping_light(rng, side)).save(file, "jpeg", quality=int(rng.integers(10, 40)))
    return np.array(Image.open(file))


def random_noise(rng, side):
    return rng.integers(0, 256, (side, side), dtype=np.uint8)


def black_and_white_noise(rng, side):
    return (rng.random((side, side)) < rng.uniform(0.1, 0.9)).astype(np.uint8) * np.uint8(255)


def clouds(rng, side):
    small = rng.integers(0, 256, (int(rng.integers(4, 14)),) * 2, dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def edges(rng, side):
    """Draw overlapping shapes of many colors, as in a photograph of objects."""
    image = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(25, 80))):
        box = np.sort(rng.integers(-side // 4, side * 5 // 4, (2, 2)), axis=0).ravel().tolist()
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    return np.array(image.filter(ImageFilter.GaussianBlur(side / 200)))


def lines(rng, side):
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(12, 40))):
        draw.line(
            rng.integers(0, side, 4).tolist(),
            fill=int(rng.integers(0, 120)),
            width=max(1, side // 60),
        )
    return np.array(image)


def squared_paper(rng, side):
    image = np.full((side, side), 245, np.uint8)
    step = max(6, side // int(rng.integers(8, 20)))
    image[::step] = image[:, ::step] = 150
    return image


def chessboard(rng, side):
    step = side // int(rng.integers(4, 12))
    y, x = np.mgrid[:side, :side] // step
    return ((x + y) % 2 * 255).astype(np.uint8)


def blot(rng, side):
    image = Image.new("L", (side, side), 250)
    low, high = side // int(rng.integers(5, 8)), side - side // int(rng.integers(5, 8))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if rng.random() < 0.5 else draw.rectangle)([low, low, high, high], fill=20)
    return np.array(image)


def speck(rng, side):
    image = np.full((side, side), 240, np.uint8)
    y, x = rng.integers(5, side - 8, 2)
    image[y : y + int(rng.integers(1, 4)), x : x + int(rng.integers(1, 4))] = 10
    return image


def specks(rng, side):
    image = np.full((side, side), 240, np.uint8)
    for y, x in rng.integers(0, side - 4, (int(rng.integers(20, 200)), 2)):
        image[y : y + 3, x : x + 3] = 10
    return image


KINDS = {
    function.__name__: function
    for function in (
        blank,
        noisy_paper,
        sloping_light,
        jpeg_paper,
        random_noise,
        black_and_white_noise,
        clouds,
        edges,
        lines,
        squared_paper,
        chessboard,
        blot,
        speck,
        specks,
    )
}


def _bytes(values):
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
