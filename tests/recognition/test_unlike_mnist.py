"""Recognition of MNIST test digits that look like photographs and scans."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from drawn.hard_pictures import hard_picture

from lenet5c.__main__ import main
from lenet5c.datasets import mnist
from lenet5c.recognition import Reader


@pytest.mark.parametrize(
    "count", [pytest.param(200, marks=pytest.mark.slow), 110], ids=lambda count: f"{count} pictures"
)
def test_at_least_97_of_100_are_read(count, tmp_path, capsys):
    """Draw pen, paper, light, noise, size, place, slant and format; a rejection counts as wrong."""
    _, test = mnist()
    truth, traits = {}, {}
    for i in range(count):
        rng = np.random.default_rng([1998, i])
        j = int(rng.integers(len(test)))
        content, ending, drawn = hard_picture(test.images[j, 0], rng)
        name = f"{i:03}.{ending}"
        (tmp_path / name).write_bytes(content)
        truth[name], traits[name] = str(test.labels[j]), drawn

    assert main(["predict", str(tmp_path), "--json"]) in (0, 3)
    readings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(readings) == count
    read = {Path(reading["file"]).name: reading["label"] for reading in readings}
    wrong = [name for name in truth if read[name] != truth[name]]
    assert len(wrong) <= 0.03 * count, [(name, truth[name], traits[name]) for name in wrong]
    # They are what they claim to be: of every kind there are many.
    for trait in ("stroke", "place", "light", "format"):
        assert min(Counter(drawn[trait] for drawn in traits.values()).values()) >= count // 20
    sides = [drawn["side"] for drawn in traits.values()]
    assert min(sides) < 50 and max(sides) > 900


@pytest.mark.parametrize(
    "chosen",
    [
        {"side": 40, "share": 0.7},
        {"side": 1000, "edge": "blurry", "format": "bmp"},
        {"place": "corner"},
        {"light": "shadow", "side": 300},
        {"format": "jpeg", "quality": 20, "noise": 14.0},
        {"paper": (25, 45, 38), "pen": (230, 230, 220)},
    ],
    ids=str,
)
def test_one_kind_at_a_time(chosen):
    _, test = mnist()
    plain = {
        "side": 120,
        "aspect": 1.0,
        "stroke": "usual",
        "light": "even",
        "noise": 4.0,
        "format": "png",
    }
    reader, right = Reader(), 0
    for i in range(10):
        content, _, _ = hard_picture(
            test.images[i, 0], np.random.default_rng([7, i]), **(plain | chosen)
        )
        right += reader(BytesIO(content)).label == str(test.labels[i])
    assert right >= 9
