"""`inspect`: identical images compared with a brute-force search, and facts of each image."""

from itertools import combinations

import numpy as np

from lenet5c.datasets.inspection import Look, _Facts, inspect


def test_equal_images_are_found_by_part_and_class(tmp_path):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    kinds[7] = 9  # of one tone
    arrays, which = {}, {}
    for part, count in (("train", 60), ("test", 30)):
        which[part] = rng.integers(0, 40, count)
        arrays |= {f"x_{part}": kinds[which[part]], f"y_{part}": rng.integers(0, 3, count)}
    np.savez(tmp_path / "a.npz", **arrays)
    found = inspect(str(tmp_path / "a.npz"))
    images = [
        (f"{part}[{i}]", part, int(arrays[f"y_{part}"][i]), int(which[part][i]))
        for part in which
        for i in range(len(which[part]))
    ]
    pairs = [(a, b) for a, b in combinations(images, 2) if a[3] == b[3]]

    def held(groups):
        return {pair for group in groups for pair in combinations(group, 2)}

    duplicates = {(a[0], b[0]) for a, b in pairs if a[1:3] == b[1:3]}
    assert duplicates and held(found.duplicates) == duplicates
    kinds_of = {image[0]: image[3] for image in images}
    for groups, place in ((found.conflicts, 2), (found.leaks, 1)):
        differing = {a[3] for a, b in pairs if a[place] != b[place]}
        assert differing and {kinds_of[group[0]] for group in groups} == differing
        for group in groups:  # all images with these pixels, as they came
            assert group == [name for name in kinds_of if kinds_of[name] == kinds_of[group[0]]]
    assert found.blank == [name for name in kinds_of if kinds_of[name] == 7]
    assert found.counts["train"] == np.bincount(arrays["y_train"]).tolist()


def test_little_is_kept_of_an_image():
    facts = _Facts(("a", "b"), str)
    look = Look.at(np.zeros((4, 4), np.uint8))
    for i in range(1000):
        facts.add("train", i % 2, i, look, "gray")
    kept = (facts.keys, facts.more, facts.places, facts.groups)
    assert sum(len(each) * each.itemsize for each in kept) == 32 * 1000
    inspection = facts.summarize("data", ["train"], [], [])
    assert inspection.conflicts == [list(map(str, range(1000)))]
    assert [len(group) for group in inspection.duplicates] == [500, 500]
