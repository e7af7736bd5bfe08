"""The page's conversion of strokes to images, compared with `lenet5c.recognition`."""

from itertools import pairwise

import numpy as np
import pytest
from drawn.demo_digits import DIGITS, strokes_of
from drawn_images import draw
from page_jobs import decode, encode, needs_node, page_of, run_jobs
from page_models import MODELS, of

from lenet5c.datasets import mnist, resize
from lenet5c.datasets.framing import Framing
from lenet5c.nn import LeNet5
from lenet5c.recognition import predict
from lenet5c.recognition.digit import BlankImageError, Digit, Ink, center, find_box, form
from lenet5c.recognition.judge import measure, reject_ink
from lenet5c.training import open_model

pytestmark = needs_node

FORMS = {
    "MNIST": (Framing(), (28, 28)),
    "dark": (Framing(paper=(250,), ink=(20,)), (28, 28)),
    "stretched, binary": (
        Framing(box=(1.0, 1.0), stretched=True, center="box", place=(0.5, 0.5), binary=True),
        (16, 16),
    ),
    "color": (
        Framing(paper=(10, 200, 30), ink=(240, 20, 30), box=(0.6, 0.5), stroke=(8.0, 9.0)),
        (40, 31),
    ),
}


def scribbles(count, seed=0):
    """Yield ink of random size: lines, dots and blots."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        side = int(rng.integers(20, 300))
        points = rng.uniform(0.1, 0.9, (int(rng.integers(1, 6)), 2))
        stroke = np.insert(points, 2, 1, axis=1).ravel().tolist()
        yield draw([stroke], float(rng.uniform(0.5, 7)), side)


def test_ink_is_prepared_as_in_python(tmp_path):
    ink = [*scribbles(40), *(draw(strokes_of(digit)) for digit in DIGITS)]
    ink += [resize(255 - image[0], (60, 90)) for image in mnist()[1].images[:4]]
    planes = [{"shape": plane.shape, "values": encode(plane)} for plane in ink]
    jobs = [
        {
            "work": "frame",
            "planes": planes,
            "form": framing.to_dict(),
            "size": size,
            "normal": normal,
        }
        for framing, size in FORMS.values()
        for normal in (True, False)
    ]
    cases = [
        (framing, size, normal) for framing, size in FORMS.values() for normal in (True, False)
    ]
    for (framing, size, normal), results in zip(cases, run_jobs(tmp_path, jobs), strict=True):
        for plane, result in zip(ink, results, strict=True):
            try:
                expected = form(plane, framing, size) if normal else center(plane, framing, size)
            except BlankImageError:
                assert result is None
                continue
            found = decode(result["image"], np.uint8).reshape(size)
            assert abs(found.astype(int) - expected).max() <= 1


def test_ink_is_judged_as_in_python(tmp_path):
    ink = list(scribbles(60, seed=1))
    grid = [[0.1, y, 1, 0.9, y, 1] for y in np.linspace(0.1, 0.9, 7)]
    grid += [[x, 0.1, 1, x, 0.9, 1] for x in np.linspace(0.1, 0.9, 7)]
    ink += [draw(grid), draw([[0.5, 0.5, 1]], 20), *(draw(strokes_of(digit)) for digit in DIGITS)]
    planes = [{"shape": plane.shape, "values": encode(plane)} for plane in ink]
    (results,) = run_jobs(
        tmp_path, [{"work": "frame", "planes": planes, "size": [28, 28], "normal": True}]
    )
    reasons = set()
    for plane, result in zip(ink, results, strict=True):
        whole = Ink(plane, plane, dark=True, contrast=255.0, noise=0.0)
        measured = measure(Digit(plane, whole, find_box(plane)))
        for name, value in result["measures"].items():
            assert value == pytest.approx(getattr(measured, name), rel=1e-9), name
        assert result["rejected"] == reject_ink(measured)
        reasons.add(result["rejected"])
    assert len(reasons) >= 3


def test_what_is_no_digit_is_rejected_as_predict_does(tmp_path):
    cross = [[0.2, 0.2, 1, 0.8, 0.8, 1], [0.8, 0.2, 1, 0.2, 0.8, 1]]
    plus = [[0.2, 0.5, 1, 0.8, 0.5, 1], [0.5, 0.2, 1, 0.5, 0.8, 1]]
    minus = [[0.2, 0.5, 1, 0.8, 0.5, 1]]
    letter = [[0.3, 0.8, 1, 0.3, 0.2, 1, 0.7, 0.8, 1, 0.7, 0.2, 1]]
    drawings = [cross, plus, minus, letter, *map(strokes_of, DIGITS)]
    job = {"work": "reject", "model": page_of(open_model()), "drawings": drawings}
    (found,) = run_jobs(tmp_path, [job])
    expected = [predict(np.pad(draw(strokes), 20)).rejected for strokes in drawings]
    assert found == expected
    assert all(found[:3]) and not any(found[4:])


@pytest.mark.parametrize("width", [0.6, 2.4, 6])
def test_ink_is_what_lies_near_the_stroke(tmp_path, width):
    jobs = [{"work": "ink", "strokes": strokes_of(digit), "width": width} for digit in DIGITS]
    for digit, result in zip(DIGITS, run_jobs(tmp_path, jobs), strict=True):
        found = decode(result["ink"], np.uint8).reshape(112, 112)
        difference = abs(found.astype(float) - draw(strokes_of(digit), width))
        assert difference.mean() < 1 and np.mean(difference > 80) < 0.002


def test_strokes_are_drawn_however_many(tmp_path):
    rng = np.random.default_rng(0)
    scribble = np.insert(rng.random((20_000, 2)), 2, 1, axis=1).ravel().tolist()
    jobs = [
        {"work": "ink", "strokes": strokes, "width": 2.4}
        for strokes in (
            [[0.5, 0.5, 0.5]],
            [[0.5, 0.5, 1]],
            [[9, -9, 1]],
            [scribble],
            [scribble] * 5,
        )
    ]
    small, usual, outside, *full = (
        decode(each["ink"], np.uint8) for each in run_jobs(tmp_path, jobs)
    )
    for ink, thickness in ((small, 0.5), (usual, 1)):
        area = np.pi * (2.4 * 2 * thickness) ** 2
        assert np.count_nonzero(ink > 127) == pytest.approx(area, rel=0.12)
    assert not outside.any() and all(each.mean() > 200 for each in full)


@pytest.mark.parametrize("name", ["whole", "color", "large"])
def test_drawings_for_other_models(tmp_path, name):
    trained = MODELS[name]
    job = {"work": "prepare", "model": page_of(trained), "strokes": strokes_of("2"), "width": 2.4}
    ink_job = {"work": "ink", "strokes": strokes_of("2"), "width": 2.4}
    found, drawn = run_jobs(tmp_path, [job, ink_job])
    channels, *size = trained.image_shape
    ink = decode(drawn["ink"], np.uint8).reshape(112, 112)
    whole = trained.reading == "whole"
    plane = resize(ink, tuple(size)) if whole else form(ink, trained.framing, tuple(size))
    expected = trained.framing.color(plane, channels)
    np.testing.assert_array_equal(decode(found["image"], np.uint8), expected.ravel())


def test_the_polarity_is_that_of_the_data(tmp_path):
    dark = of(LeNet5(), "0123456789", (1, 28, 28))
    dark.framing = Framing(paper=(255,), ink=(0,))
    whole = of(LeNet5(), "0123456789", (1, 28, 28), "whole")
    whole.framing = Framing(paper=(255,), ink=(0,))
    jobs = [
        {"work": "prepare", "model": page_of(each), "strokes": strokes_of("1"), "width": 2.4}
        for each in (dark, whole)
    ]
    for result in run_jobs(tmp_path, jobs):
        image = decode(result["image"], np.uint8)
        assert np.median(image) == 255 and image.min() < 30


def test_no_drawing_has_no_image(tmp_path):
    page = page_of(open_model())
    strokes = [[], [[0.5, 0.5, 1]], [[0.5, 0.5, 1, 0.501, 0.5, 1]], [[1.5, 1.5, 1]]]
    jobs = [{"work": "prepare", "model": page, "strokes": each, "width": 2.4} for each in strokes]
    assert run_jobs(tmp_path, jobs) == [None] * 4


def test_digits_of_any_size_and_place_are_classified(tmp_path):
    trained, jobs, digits = open_model(), [], []
    page = page_of(trained)
    for digit in DIGITS:
        for size in (0.3, 0.6, 1.2):
            for dx in (-0.3, 0.0):
                shift = [0.5 + dx * (1 - min(size, 1)), 0.5, 0]
                strokes = (np.reshape(stroke, (-1, 3)) for stroke in strokes_of(digit))
                moved = [((s - [0.5, 0.5, 0]) * [size, size, 1] + shift) for s in strokes]
                strokes = [each.ravel().tolist() for each in moved]
                jobs.append({"work": "prepare", "model": page, "strokes": strokes, "width": 2.4})
                digits.append(digit)
    images = [decode(result["image"], np.uint8) for result in run_jobs(tmp_path, jobs)]
    probabilities = trained.probabilities(np.reshape(images, (-1, 1, 28, 28)))
    assert "".join(map(str, probabilities.argmax(1))) == "".join(digits)
    assert probabilities.max(1).min() > 0.8


def test_where_the_image_lies_on_the_drawing(tmp_path):
    """Ink of the image, transformed back to the drawing, is in the bounding box of its ink."""
    page = page_of(open_model())
    jobs = [
        {"work": "prepare", "model": page, "strokes": strokes_of(d), "width": 2.4} for d in DIGITS
    ]
    for digit, result in zip(DIGITS, run_jobs(tmp_path, jobs), strict=True):
        image = decode(result["image"], np.uint8).reshape(28, 28)
        top, left, bottom, right = find_box(image)
        found = np.array([[top, left], [bottom, right]]) * result["scale"] + result["corner"]
        box = np.reshape(find_box(draw(strokes_of(digit))), (2, 2))
        assert abs(found - box).max() < 8, digit


STILL = {"shift_x": 0, "shift_y": 0, "rotation": 0, "scale": 1, "noise": 0}


def transformed(tmp_path, image, *changes, paper=(0,), widths=()):
    """Return the image for each perturbation, and each pen width."""
    job = {"work": "transform", "image": encode(image), "shape": image.shape, "paper": paper}
    jobs = [job | {"transform": STILL | change} for change in changes]
    jobs += [job | {"width": width} for width in widths]
    return [decode(r["image"], np.uint8).reshape(image.shape) for r in run_jobs(tmp_path, jobs)]


def test_sliders(tmp_path):
    image = np.zeros((1, 32, 32), np.uint8)
    image[0, 10:22, 12:16] = np.arange(10, 250, 5).reshape(12, 4)
    still, shifted, quarter, half, large, small, noisy, again = transformed(
        tmp_path,
        image,
        {},
        {"shift_x": 3, "shift_y": -2},
        {"rotation": 90},
        {"rotation": 180},
        {"scale": 1.5},
        {"scale": 0.5},
        {"noise": 0.2},
        {"noise": 0.2},
    )
    np.testing.assert_array_equal(still, image)
    np.testing.assert_array_equal(shifted, np.roll(image, (-2, 3), (1, 2)))
    np.testing.assert_array_equal(quarter, np.rot90(image, -1, (1, 2)))  # clockwise
    np.testing.assert_array_equal(half, image[:, ::-1, ::-1])
    for scaled, factor in ((large, 1.5), (small, 0.5)):
        assert scaled.sum(dtype=float) == pytest.approx(factor**2 * image.sum(), rel=0.05)
    np.testing.assert_array_equal(noisy, again)
    assert 0 < noisy[image == 0].mean() < 60 and (noisy != image).mean() > 0.4


def test_what_comes_in_is_paper(tmp_path):
    image = np.full((3, 9, 7), 200, np.uint8)
    image[1] = 30
    changes = {"shift_x": 5}, {"rotation": 45}, {"scale": 0.5}
    for found in transformed(tmp_path, image, *changes, paper=(200, 30, 200)):
        np.testing.assert_array_equal(found, image)


def test_pens_of_other_widths(tmp_path):
    digit = mnist()[1].images[0]
    widths = (0.6, 1.4, 2.4, 4, 6)
    found = transformed(tmp_path, digit, widths=widths)
    np.testing.assert_array_equal(found[2], digit)
    ink = [each.mean() for each in found]
    assert all(a < 0.92 * b for a, b in pairwise(ink))


def test_a_line_of_ink_is_as_wide_as_the_pen(tmp_path):
    line = np.zeros((1, 12, 12), np.uint8)
    line[0, :, 5:7] = 255
    widths = (1.4, 2.4, 4.4)
    for found, expected in zip(transformed(tmp_path, line, widths=widths), (1, 2, 4), strict=True):
        assert found[0, 6].sum() / 255 == pytest.approx(expected, abs=0.3)
