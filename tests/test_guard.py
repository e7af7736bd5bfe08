"""The performance guard: its intervals, its verdicts on a made-up package, and its builds."""

import json
import math
import os
import random
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import builds
import guard
import pytest
import rank_intervals

GUARD = Path(guard.__file__)
ROUNDS, ALPHA = 16, 0.01 / len(guard.ROWS)
# A package that has the one thing that the row `start` needs.
PACKAGE = {
    "setup.py": "",
    "src/lenet5c/__init__.py": "",
    "src/lenet5c/__main__.py": "",
}


def noisy_round(rng):
    """Logarithm of a least time: some noise, and now and then another program's doing."""
    return rng.gauss(0, 0.03) + (rng.expovariate(2) if rng.random() < 0.08 else 0)


def simulated(rng, change, rounds=ROUNDS):
    return [math.log1p(change) + noisy_round(rng) - noisy_round(rng) for _ in range(rounds)]


def share_of(word, change, runs):
    rng = random.Random(0)
    found = (
        guard.judge(*rank_intervals.center(simulated(rng, change), ALPHA), 0.03)
        for _ in range(runs)
    )
    return sum(verdict == word for verdict in found) / runs


def test_equal_commits_differ_nearly_never():
    # One row in 1,300 may.
    assert share_of("no difference", 0, 2000) >= 0.997


def test_a_slowdown_of_a_tenth_is_found():
    assert share_of(guard.SLOWER, 0.10, 300) >= 0.97


def test_a_gain_of_a_tenth_is_found():
    assert share_of("faster", -0.10, 300) >= 0.97


def test_signed_ranks_are_counted_as_they_are():
    for n in range(1, 8):
        sums = [sum(r for r, sign in zip(range(1, n + 1), signs, strict=True) if sign)
                for signs in product((0, 1), repeat=n)]
        assert rank_intervals.signed_rank_counts(n) == [sums.count(w) for w in range(max(sums) + 1)]


def test_rank_sums_are_counted_as_they_are():
    for m, n in product(range(1, 5), repeat=2):
        least = m * (m + 1) // 2
        sums = [sum(ranks) - least for ranks in combinations(range(1, m + n + 1), m)]
        assert rank_intervals.rank_sum_counts(m, n) == [sums.count(w) for w in range(m * n + 1)]


@pytest.mark.parametrize("n", [5, 9, 16])
def test_intervals_are_those_of_scipy(n):
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(n)
    values = [rng.gauss(0.3, 1) for _ in range(n)]
    alpha = 0.07
    _, low, high = rank_intervals.center(values, alpha)
    # An end of the interval is where the test's answer turns.
    for end, sign in ((low, 1), (high, -1)):
        for step, rejected in ((-1e-9, True), (1e-9, False)):
            moved = [value - end - sign * step for value in values]
            assert (stats.wilcoxon(moved, method="exact").pvalue <= alpha) == rejected
    others = [rng.gauss(1, 1) for _ in range(n + 1)]
    _, low, high = rank_intervals.shift(values, others, alpha)
    for end, sign in ((low, 1), (high, -1)):
        for step, rejected in ((-1e-9, True), (1e-9, False)):
            moved = [value - end - sign * step for value in others]
            p = stats.mannwhitneyu(moved, values, method="exact").pvalue
            assert (p <= alpha) == rejected


def test_too_few_values_have_no_interval():
    with pytest.raises(ValueError, match="4 values|10 values"):
        rank_intervals.center([1.0, 2.0, 3.0, 4.0], 0.01)
    assert rank_intervals.fewest(0.01) == 8
    rank_intervals.center([float(n) for n in range(8)], 0.01)


@pytest.fixture
def repository(tmp_path):
    """Return a repository with a package that starts at once, and then one that starts late."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for number, seconds in enumerate((0, 0.04)):
        for name, text in PACKAGE.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        wait = f"import time; time.sleep({seconds})\n"
        (folder / "src/lenet5c/__main__.py").write_text(wait)
        if not number:
            git(folder, "init", "--quiet")
        git(folder, "add", ".")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", str(number))
    return folder


def git(folder, *words):
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)
