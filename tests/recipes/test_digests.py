"""Digests of the data of runs."""

from dataclasses import replace

import numpy as np
import pytest

from lenet5c.datasets import Source
from lenet5c.recipes import digests, grid, run_many
from lenet5c.recipes.digests import data_digest, keep_digest


@pytest.fixture
def source(mnist_slice):
    train_set, test = mnist_slice
    return Source(train_set.take(range(60)), test.take(range(20)))


@pytest.fixture
def counted(monkeypatch):
    """Return a list that grows with each digest that is computed."""
    calls, digest = [], digests.digest
    monkeypatch.setattr(digests, "digest", lambda *parts: calls.append(1) or digest(*parts))
    monkeypatch.setattr(digests, "_kept", None)
    return calls


def test_data_that_nobody_changes_have_one_digest(source, counted):
    first = data_digest(source)
    assert data_digest(source) == first and len(counted) == 2
    keep_digest(source)
    assert {data_digest(source) for _ in range(3)} == {first} and len(counted) == 3
    labels = source.train.labels.copy()
    labels[5] = (labels[5] + 1) % 10
    other = replace(source, train=replace(source.train, labels=labels))
    assert data_digest(other) != first  # its own
    assert data_digest(source, other) not in (first, data_digest(other))


def test_runs_after_each_other_compute_the_digest_of_their_data_once(counted, tmp_path, idx_files):
    runs = grid("fast", data=str(idx_files), seed=range(3), epochs=1, train_size=100)
    result = run_many(runs, tmp_path, jobs=1, progress=False)
    assert not result.failed and len(counted) <= 2  # another one names the folders
    assert len({row["run"] for row in result.rows}) == 3
    assert np.isfinite([row["test_accuracy"] for row in result.rows]).all()
