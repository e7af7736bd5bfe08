"""Pictures of one digit and other objects: a table, a note, holes, a window, a ruler."""

import io

import numpy as np
from drawn.hard_pictures import lit
from drawn.papers import Page
from drawn.pens import enlarge
from PIL import Image, ImageDraw, ImageFilter

TABLES = [(120, 85, 55), (60, 45, 40), (190, 160, 120), (90, 95, 100), (205, 205, 200)]
PENS = [(20, 25, 110), (30, 30, 32), (150, 25, 30), (25, 80, 40)]


def _take(picture, rng, quality=85, noise=3.0, light="slope"):
    """Return a photograph of a picture of Pillow: lit, noisy, in a JPEG file."""
    values = np.asarray(picture, np.float32)
    values = values * np.atleast_3d(lit(values.shape[:2], light, rng))
    values += noise * rng.standard_normal(values.shape, np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8)).save(
        file, "jpeg", quality=quality
    )
    return np.asarray(Image.open(file))


def _write(page, digit, rng, pen, share):
    """Write a digit near the middle of a page of Pillow."""
    ink = Image.fromarray(enlarge(digit, round(share * min(page.size))))
    place = [
        round((own - other) / 2 + rng.uniform(-0.1, 0.1) * own)
        for own, other in zip(page.size, ink.size, strict=True)
    ]
    page.paste(pen, (*place, place[0] + ink.width, place[1] + ink.height), ink)


def _table(size, rng):
    """Return a table top: one color, with a grain along it."""
    color = np.array(TABLES[rng.integers(len(TABLES))], np.float32)
    grain = rng.normal(0, 6, (size[1], 1, 1)).astype(np.float32)
    grain = grain + rng.normal(0, 3, (size[1], size[0], 1)).astype(np.float32)
    return Image.fromarray(np.clip(color + grain, 0, 255).astype(np.uint8))


def _lay(table, paper, rng, angle, shadow=10):
    """Lay a sheet on a table, turned, with its shadow, near the middle."""
    mask = Image.new("L", paper.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    paper = paper.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = (
        round((own - other) / 2 + rng.uniform(-0.05, 0.05) * own)
        for own, other in zip(table.size, paper.size, strict=True)
    )
    dark = Image.new("L", table.size)
    dark.paste(110, (left + shadow, top + shadow), mask)
    table.paste((10, 10, 10), (0, 0), dark.filter(ImageFilter.GaussianBlur(shadow)))
    table.paste(paper, (left, top), mask)


def sticky_note(digit, rng):
    """Draw a digit on a colored note that lies on a table."""
    color = [(252, 236, 130), (250, 190, 200), (180, 230, 170)][rng.integers(3)]
    note = Image.new("RGB", (420, 420), color)
    _write(note, digit, rng, PENS[rng.integers(len(PENS))], rng.uniform(0.4, 0.75))
    side = int(rng.integers(520, 760))
    table = _table((side, side), rng)
    _lay(table, note, rng, rng.uniform(-8, 8))
    return _take(table, rng)


def edge_of_table(digit, rng):
    """Draw a digit on a sheet, with the table visible beyond one or two edges."""
    sheet = Image.new("RGB", (700, 700), (240, 238, 232))
    _write(sheet, digit, rng, PENS[rng.integers(len(PENS))], rng.uniform(0.25, 0.5))
    table = _table((1000, 1000), rng)
    _lay(table, sheet, rng, rng.uniform(-4, 4))
    # A part of it, in which the sheet runs out of the picture at the other edges.
    left, top = rng.integers(90, 200, 2) * (rng.random(2) < 0.6)
    right, bottom = 1000 - (230 if left < 90 else 210), 1000 - (230 if top < 90 else 210)
    left, top = (230 if side == 0 else side for side in (left, top))
    return _take(table.crop((int(left), int(top), right, bottom)), rng)


def pencil_on_squares(digit, rng):
    """Photograph a digit in pencil, as high as 1 to 4 squares."""
    pixels = int(rng.integers(100, 260))
    page = Page(640, 560)
    page.rule("squared", pixels / rng.uniform(1, 4), rng.uniform(1, 2.5), rng)
    ink = enlarge(digit, pixels)
    page.put(
        ink, *(rng.uniform(0.2, 0.8) * (a - b) for a, b in zip(page.shape, ink.shape, strict=True))
    )
    gray = int(rng.integers(70, 125))
    picture = page.scan((gray, gray, gray), (165, 185, 215))
    return _take(picture.astype(np.float32) * 0.93, rng, light="even" if pixels % 2 else "slope")


def punched_scan(digit, rng):
    """Draw a digit on a scanned sheet with punch holes at its left, dark or gray."""
    page = Image.new("RGB", (827, 1169), (250, 250, 250))
    brush, dark = ImageDraw.Draw(page), int(rng.integers(20, 170))
    for y in (395, 710):
        x, y, radius = 45 + rng.integers(-8, 8), y + rng.integers(-20, 20), 16 + rng.integers(3)
        brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(dark,) * 3)
    _write(page, digit, rng, PENS[rng.integers(len(PENS))], rng.uniform(0.15, 0.4))
    return np.asarray(page)


def screenshot(digit, rng):
    """Draw a digit in the window of a program: a bar with buttons above a white canvas."""
    dark = rng.random() < 0.4
    ground, pen = ((30, 30, 30), (240, 240, 240)) if dark else ((255, 255, 255), (0, 0, 0))
    canvas = Image.new("RGB", (600, 500), ground)
    _write(canvas, digit, rng, pen, rng.uniform(0.3, 0.7))
    window = Image.new("RGB", (600, 530), (55, 55, 60) if dark else (225, 225, 230))
    window.paste(canvas, (0, 30))
    brush = ImageDraw.Draw(window)
    for k, color in enumerate([(237, 106, 94), (245, 191, 79), (98, 197, 84)]):
        brush.ellipse([10 + 20 * k, 9, 22 + 20 * k, 21], fill=color)
    return np.asarray(window)


def phone(digit, rng):
    """Photograph a digit in portrait, stored sideways with an EXIF orientation."""
    page = Image.new("RGB", (900, 1200), (225, 222, 215))
    _write(page, digit, rng, PENS[rng.integers(len(PENS))], rng.uniform(0.2, 0.5))
    shot = Image.fromarray(_take(page, rng, light=str(rng.choice(["vignette", "shadow"]))))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    shot.transpose(Image.Transpose.ROTATE_90).save(file, "jpeg", quality=85, exif=exif)
    return file.getvalue()


def gray_paper(digit, rng):
    """Photograph a digit in colored ink or chalk on gray paper, in a shadow."""
    gray = int(rng.integers(90, 190))
    page = Image.new("RGB", (500, 500), (gray, gray, gray + 4))
    pens = PENS if gray > 130 else [(250, 250, 245), (250, 220, 90), (20, 20, 25)]
    _write(page, digit, rng, pens[rng.integers(len(pens))], rng.uniform(0.3, 0.7))
    return _take(page, rng, noise=5.0, light="shadow")


def chalk(digit, rng):
    """Photograph a digit in chalk, whose strokes have gaps, on a board that was wiped."""
    pixels = int(rng.integers(120, 400))
    ink = np.pad(enlarge(digit, pixels), pixels // 3).astype(np.float32) / 255
    grain, cloud = (
        np.asarray(
            Image.fromarray(rng.standard_normal(size).astype(np.float32)).resize(
                ink.shape[::-1], Image.Resampling.BICUBIC
            )
        )
        for size in ([side // 2 for side in ink.shape], (5, 5))
    )
    ink *= np.clip(1.1 + 0.7 * grain, 0, 1)
    board = np.array([(45, 62, 52), (40, 42, 45), (60, 72, 66)][rng.integers(3)], np.float32)
    board = board + 4 * cloud[..., np.newaxis]
    return _take(board + (np.array([225, 225, 215]) - board) * ink[..., np.newaxis], rng)


def stray_dots(digit, rng):
    """Scan a digit with one to five dots of the pen elsewhere on the page."""
    page = Image.new("RGB", (600, 600), (252, 252, 250))
    pen = PENS[rng.integers(len(PENS))]
    _write(page, digit, rng, pen, rng.uniform(0.25, 0.5))
    brush = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(1, 6))):
        x, y, radius = *rng.uniform(10, 590, 2), rng.uniform(1, 4)
        brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=pen)
    return np.asarray(page)


#: Row -> function of (digit of MNIST, generator) that draws a picture.
SCENES = {
    "sticky note on a table": sticky_note,
    "sheet at the table's edge": edge_of_table,
    "pencil on squared paper": pencil_on_squares,
    "scan with punch holes": punched_scan,
    "screenshot of a window": screenshot,
    "phone, portrait by EXIF": phone,
    "gray paper in a shadow": gray_paper,
    "chalk on a board": chalk,
    "stray dots of the pen": stray_dots,
}
