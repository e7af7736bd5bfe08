"""The performance guard: intervals, verdicts on a simulated package, and builds."""

import json
import math
import os
import random
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace

import builds
import guard
import pytest
import rank_intervals
from processes import HANGING

GUARD = Path(guard.__file__)
# As the options are by default.
OPTIONS = SimpleNamespace(
    rows=list(guard.ROWS), rounds=14, looks=3, confidence=0.99, limit=0.03, clock="wall"
)
# A package that has the one thing that the row `start` needs.
PACKAGE = {"setup.py": "", "src/lenet5c/__init__.py": "", "src/lenet5c/__main__.py": ""}


def noisy_round(rng):
    """Return the log of a minimum time: noise, and occasional disturbances."""
    return rng.gauss(0, 0.03) + (rng.expovariate(2) if rng.random() < 0.08 else 0)


def verdict(rng, change):
    """Judge a simulated row like the guard: measurements continue while it is undecided."""
    sides = {"old": [], "new": []}
    for rounds in guard.looks(OPTIONS):
        while len(sides["old"]) < rounds:
            for side, factor in (("old", 1), ("new", 1 + change)):
                seconds = factor * math.exp(noisy_round(rng))
                sides[side].append([[seconds, seconds]])
        found = guard.row_change(sides, OPTIONS)
        if not guard.is_undecided(found, OPTIONS):
            break
    return guard.judge(*found, OPTIONS.limit)


def share_of(word, change, runs):
    rng = random.Random(0)
    return sum(verdict(rng, change) == word for _ in range(runs)) / runs


def test_equal_commits_differ_nearly_never():
    # One row in 1,300 may.
    assert share_of("no difference", 0, 600) >= 0.997


def test_a_slowdown_of_a_tenth_is_found():
    assert share_of(guard.SLOWER, 0.10, 300) >= 0.99


def test_a_gain_of_a_tenth_is_found():
    assert share_of("faster", -0.10, 300) >= 0.97


def test_a_slowdown_within_the_limit_is_nearly_never_a_failure():
    assert share_of(guard.SLOWER, 0.01, 300) <= 0.03


def test_signed_ranks_are_counted_as_they_are():
    for n in range(1, 8):
        sums = [
            sum(r for r, sign in zip(range(1, n + 1), signs, strict=True) if sign)
            for signs in product((0, 1), repeat=n)
        ]
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
    for number, seconds in enumerate((0, 0.25)):
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


def run(*words):
    done = subprocess.run(
        [sys.executable, GUARD, *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=HANGING,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    return done.returncode, done.stdout, done.stderr


def measured(repository, *words):
    settings = ["--repository", repository, "--cache", repository.parent / "cache", "--looks", 1]
    settings += ["--confidence", 0.9, "--threads", 1]
    return run(*settings, "--rounds", 5, *words)


def test_a_late_start_is_found_and_files_are_compared(repository):
    path = repository.parent / "run.json"
    words = "HEAD~1", "HEAD", "--rows", "start", "image-1", "--json", path
    # Both rows count for the number of rounds before anything is measured.
    code, _, errors = measured(repository, *words)
    assert code == 2
    assert (
        "--rounds must be at least 6 for 2 rows, 1 looks and a confidence of 0.9, got 5" in errors
    )
    code, out, _ = measured(repository, *words, "--rounds", 6)
    assert code == 1, out
    assert "SLOWER" in out
    missing = "image-1: the old one, HEAD~1, cannot run it: ModuleNotFoundError: No module named"
    assert missing in out

    result = json.loads(path.read_text())
    assert {len(turns) for turns in result["times"]["start"]["new"]} == {guard.OTHER_TURNS}
    for turns in result["times"]["start"]["new"]:
        turns[:] = [[wall / 10, cpu / 10] for wall, cpu in turns]
    faster = repository.parent / "faster.json"
    faster.write_text(json.dumps(result))
    assert run("--compare", path, faster, "--confidence", 0.9)[0] == 0
    assert run("--compare", faster, path, "--confidence", 0.9)[0] == 1
    result["trees"]["old"] = "0"
    faster.write_text(json.dumps(result))
    assert "one OLD between them" in run("--compare", path, faster)[2]


def test_what_the_new_commit_alone_cannot_run_is_no_success(repository):
    (repository / "src/lenet5c/__main__.py").unlink()  # the working tree is the new one
    code, out, _ = measured(repository, "HEAD~1", "--rows", "start")
    assert code == 1
    assert "start: the new one, ., cannot run it" in out
    code, _, errors = measured(repository, "HEAD", "HEAD", "--rows", "conv2d")
    assert code == 1
    assert "no row can be run by both" in errors


def test_builds_are_kept_and_modules_shared(repository, monkeypatch):
    cache = repository.parent / "cache"
    compiled = []
    monkeypatch.setattr(
        builds,
        "compile_modules",
        lambda source, cache, target: (compiled.append(target), target.mkdir()),
    )
    first, second = (builds.tree(repository, commit) for commit in ("HEAD~1", "HEAD"))
    folders = [builds.build(repository, tree, cache) for tree in (first, second, first)]
    assert folders[0] == folders[2] != folders[1]
    assert len(compiled) == 1  # setup.py is the same
    (repository / "setup.py").write_text("# another\n")
    (repository / "src/lenet5c/new.py").write_text("")
    changed = builds.build(repository, builds.tree(repository, "."), cache)
    assert len(compiled) == 2
    assert (changed / "src/lenet5c/new.py").exists()
    status = subprocess.run(["git", "-C", repository, "status", "--short"], capture_output=True)
    assert status.stdout.decode() == " M setup.py\n?? src/lenet5c/new.py\n"
    assert not list(cache.glob("unfinished-*"))
    with pytest.raises(builds.BuildError, match="nothing"):
        builds.tree(repository, "nothing")
