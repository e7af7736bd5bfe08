"""Lines of boxes along slopes and curves, and spaces between numbers."""

import numpy as np
import pytest

from lenet5c.recognition.text_lines import find_spaces, group_lines, measure_slope


def row(count, top, fall, height=40, step=60, left=20):
    """Return boxes of a line; `fall` maps a column to the descent of the line there."""
    lefts = left + step * np.arange(count)
    tops = np.rint(top + fall(lefts)).astype(int)
    return np.stack([tops, lefts, tops + height, lefts + 25], axis=1)


@pytest.mark.parametrize(
    "fall",
    [lambda x: 0 * x, lambda x: 0.18 * x, lambda x: -0.18 * x, lambda x: 60 * np.sin(x / 250)],
    ids=["level", "falls by 10 degrees", "climbs by 10 degrees", "bends"],
)
def test_lines_follow_slopes_and_curves(fall):
    lines = [row(12, top, fall, left=20 + 7 * k) for k, top in enumerate((300, 352, 404))]
    order = np.random.default_rng(0).permutation(36)
    boxes = np.concatenate(lines)[order]
    found = group_lines(boxes, 40)
    assert len(found) == 3
    for line, expected in zip(found, lines, strict=True):
        np.testing.assert_array_equal(boxes[line], expected)


def test_a_line_goes_on_after_a_gap():
    boxes = np.delete(row(12, 300, lambda x: 0.15 * x), [4, 5, 6], axis=0)
    assert group_lines(boxes, 40) == [list(range(9))]


def test_slope_of_few_boxes_is_none():
    assert measure_slope(row(2, 0, lambda x: 0.2 * x), 40) == 0.0
    assert measure_slope(row(6, 0, lambda x: 0.2 * x), 40) == pytest.approx(0.2, abs=0.02)
    assert group_lines(np.empty((0, 4), np.int64), 40) == []


def line(*gaps, height=40, width=20):
    """Return boxes with gaps between them, in heights."""
    boxes, left = [(0, 0, height, width)], width
    for gap in gaps:
        left += round(gap * height)
        boxes.append((0, left, height, left + width))
        left += width
    return boxes


@pytest.mark.parametrize(
    ("gaps", "spaces"),
    [
        ((0.2, 0.3, 1.1, 0.2), (0, 0, 1, 0)),
        ((0.2, 1.0, 1.2, 0.3, 1.1), (0, 1, 1, 0, 1)),
        ((0.9, 1.0, 1.2, 0.8), (0, 0, 0, 0)),  # one number, set wide
        ((-0.1, 0.05, 0.3, 0.0), (0, 0, 0, 0)),
        ((3.0,), (1,)),
        ((0.4,), (0,)),
        ((), ()),
    ],
    ids=str,
)
def test_spaces_are_clearly_wider(gaps, spaces):
    assert find_spaces([line(*gaps)]) == [list(map(bool, spaces))]


def test_lines_share_what_a_space_is():
    assert find_spaces([line(0.2, 0.25, 0.2), line(0.9), []]) == [[False] * 3, [True], []]
