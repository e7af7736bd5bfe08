"""Realistic photographs of digits: pens, papers, light, cameras.

All are drawn from MNIST digits by a seeded generator, and encoded in common file formats.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

#: (paper, pen), red, green and blue: ballpoints, felt pens, pencil, chalk.
COLORS = [
    ((255, 255, 255), (0, 0, 0)),
    ((245, 243, 235), (60, 60, 65)),
    ((252, 236, 130), (25, 40, 150)),
    ((255, 255, 250), (30, 60, 180)),
    ((250, 210, 215), (20, 90, 40)),
    ((205, 225, 245), (170, 25, 30)),
    ((215, 190, 150), (70, 40, 25)),
    ((240, 240, 240), (110, 110, 115)),
    ((30, 50, 42), (235, 235, 225)),
    ((20, 20, 25), (250, 230, 90)),
    ((40, 60, 130), (240, 240, 250)),
    ((0, 0, 0), (255, 255, 255)),
    ((190, 235, 190), (90, 30, 120)),
    ((70, 30, 35), (240, 200, 190)),
]
FORMATS = ("jpeg", "jpeg", "png", "webp", "bmp", "tiff")


def hard_picture(digit, rng, **chosen):
    """Return (file content, suffix, settings) for an MNIST digit, uint8 (28, 28).

    `chosen` fixes what would be drawn, such as side=1000 or light='shadow'.
    """
    paper, pen = COLORS[rng.integers(len(COLORS))]
    traits = {
        "side": int(np.exp(rng.uniform(np.log(40), np.log(1000)))),
        "aspect": float(rng.choice([1.0, 0.75, 1.33, 2.0])),
        "share": float(rng.uniform(0.3, 0.9)),
        "place": str(rng.choice(["anywhere", "anywhere", "centre", "corner"])),
        "stroke": str(rng.choice(["usual", "usual", "thin", "thick"])),
        "edge": str(rng.choice(["crisp", "crisp", "blurry"])),
        "angle": float(rng.uniform(-10, 10)),
        "paper": paper,
        "pen": pen,
        "light": str(rng.choice(["even", "slope", "vignette", "shadow"])),
        "noise": float(rng.choice([0, 4, 8, 14])),
        "format": str(rng.choice(FORMATS)),
        "quality": int(rng.integers(20, 61)),
    } | chosen
    ink = drawn(digit, traits, rng)
    light = lit(ink.shape, traits["light"], rng)
    # Planes of float32, in place: large pictures are what takes time.
    planes = []
    for paper_level, pen_level in zip(traits["paper"], traits["pen"], strict=True):
        plane = np.float32(pen_level - paper_level) * ink
        plane += np.float32(paper_level)
        plane *= light
        if traits["noise"]:
            plane += np.float32(traits["noise"]) * rng.standard_normal(plane.shape, np.float32)
        plane += np.float32(0.5)
        planes.append(np.clip(plane, 0, 255, out=plane).astype(np.uint8))
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
    file = io.BytesIO()
    # Noise does not become smaller by more work on it.
    options = {
        "jpeg": {"quality": traits["quality"]},
        "png": {"compress_level": 1},
        "webp": {"quality": traits["quality"], "method": 2},
    }.get(traits["format"], {})
    picture.save(file, traits["format"], **options)
    return file.getvalue(), traits["format"], traits


def drawn(digit, traits, rng):
    """Return ink from 0 to 1: the digit enlarged, thinned or thickened, rotated and placed."""
    short, aspect = traits["side"], traits["aspect"]
    height, width = (
        (short, round(short * aspect)) if aspect >= 1 else (round(short / aspect), short)
    )
    pixels = max(16, round(traits["share"] * short))
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    crop = np.pad(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 4)
    # Lines are made finer than they are needed, if they are not very large, and then reduced.
    unit = min(24, max(2, -(-2 * pixels // 20)))
    large = Image.fromarray(crop).resize(
        (crop.shape[1] * unit, crop.shape[0] * unit), Image.Resampling.BICUBIC
    )
    large = large.filter(ImageFilter.GaussianBlur(unit * 0.35))
    level = {"thin": 185, "usual": 110, "thick": 110}[traits["stroke"]]
    if traits["edge"] == "blurry":
        large = large.point(lambda v: int(min(255, max(0, (v - level) * 2 + 128))))
    else:
        large = large.point(lambda v: 255 if v >= level else 0)
    if traits["stroke"] == "thick":
        large = large.filter(ImageFilter.GaussianBlur(unit * 0.7)).point(
            lambda v: 255 if v >= 70 else 0
        )
    large = large.rotate(traits["angle"], Image.Resampling.BICUBIC, expand=True)
    scale = pixels / (20 * unit)
    large = large.crop(large.getbbox())
    size = tuple(max(2, round(side * scale)) for side in large.size)
    fit = min(1.0, 0.95 * width / size[0], 0.95 * height / size[1])
    size = tuple(max(2, round(side * fit)) for side in size)
    small = np.asarray(
        large.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    )
    ink = np.zeros((height, width), np.float32)
    free = np.array(ink.shape) - small.shape
    if traits["place"] == "centre":
        top, left = free // 2
    elif traits["place"] == "corner":
        near = np.minimum(free, max(1, short // 40))
        top, left = (
            int(n if side else f - n)
            for n, f, side in zip(near, free, rng.integers(0, 2, 2), strict=True)
        )
    else:
        top, left = (int(rng.integers(0, f + 1)) for f in free)
    ink[top : top + small.shape[0], left : left + small.shape[1]] = small / np.float32(255)
    return ink


def lit(shape, light, rng):
    """Return the brightness of each pixel, at most 1."""
    if light == "even":
        return np.float32(1)
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, np.newaxis]
    x = np.linspace(0, 1, shape[1], dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    if light == "slope":
        return np.clip(0.7 - 0.55 * along, 0.2, 1)
    if light == "vignette":
        far = np.hypot(x - rng.uniform(0.35, 0.65), y - rng.uniform(0.35, 0.65))
        return 1 - 0.6 * np.clip(far / 0.75, 0, 1) ** 2
    # The soft edge of a hand's or a telephone's shadow.
    return 1 - 0.45 / (1 + np.exp(-(along - rng.uniform(-0.25, 0.25)) / 0.06))
