"""Connected components compared with flood fill."""

import numpy as np
import pytest

from lenet5c.recognition.components import find_components


def flooded(mask):
    labels = np.full(mask.shape, -1)
    count = 0
    for y, x in np.argwhere(mask):
        if labels[y, x] >= 0:
            continue
        waiting, labels[y, x] = [(y, x)], count
        while waiting:
            y, x = waiting.pop()
            for p in range(max(0, y - 1), min(mask.shape[0], y + 2)):
                for q in range(max(0, x - 1), min(mask.shape[1], x + 2)):
                    if mask[p, q] and labels[p, q] < 0:
                        labels[p, q] = count
                        waiting.append((p, q))
        count += 1
    return labels


@pytest.mark.parametrize("seed", range(40))
def test_as_a_flood_fill_finds_them(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 25, 2)) < rng.random()
    parts = find_components(mask)
    np.testing.assert_array_equal(parts.labels, flooded(mask))
    for k in range(len(parts)):
        rows, columns = np.nonzero(parts.labels == k)
        assert parts.area[k] == len(rows)
        box = tuple(parts.boxes[k])
        assert box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def test_chosen_parts_as_a_mask():
    mask = np.array([[1, 0, 1], [1, 0, 0]], bool)
    parts = find_components(mask)
    np.testing.assert_array_equal(parts.mask(np.array([False, True])), [[0, 0, 1], [0, 0, 0]])
    assert len(find_components(np.zeros((3, 4), bool))) == 0


def test_a_spiral_is_one_part():
    mask = np.zeros((101, 101), bool)
    for k in range(0, 50, 2):
        mask[k, k : 101 - k] = mask[100 - k, k : 101 - k] = mask[k : 101 - k, 100 - k] = True
        mask[k + 2 : 101 - k, k] = True
        mask[k + 2, k : k + 2] = True
    assert len(find_components(mask)) == 1
