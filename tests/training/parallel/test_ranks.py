"""MPI ranks: bit-identical to one process, and the samples read by each."""

import json
from itertools import pairwise

import numpy as np
import pytest
import rank_cases
from mpi_programs import run_on_ranks

from lenet5c.datasets import Dataset, mnist
from lenet5c.datasets.mapped import MappedImages
from lenet5c.nn.steps import local_samples
from lenet5c.training.parallel import Ranks, launched_rank, launched_size, open_ranks


@pytest.fixture(scope="module")
def alone():
    """Return the outcome of each case in this process."""
    return rank_cases.outcomes()


@pytest.mark.parametrize(
    "ranks, node_size, threads", [(2, 2, 2), (2, 1, 1), (2, 1, 2), (3, 3, 1), (3, 1, 1), (3, 2, 2)]
)
def test_ranks_have_the_bits_of_one_process(alone, ranks, node_size, threads):
    """Node sizes smaller than the number of ranks simulate several machines."""
    done = run_on_ranks(ranks, rank_cases.__file__, threads, LENET5C_MPI_NODE_SIZE=str(node_size))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["ranks"], told["neighbors"]) == (ranks, node_size)
    assert told["outcomes"] == alone


class Some(Ranks):
    """A rank that never communicates with the others."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.mark.parametrize("batch_size", [16, 100, 250, 1060])
@pytest.mark.parametrize("model", [rank_cases.small_net, rank_cases.normalized_net])
def test_each_sample_is_read_by_one_rank_and_few_by_two(model, batch_size):
    model = model()
    optimizer = rank_cases.optim.SGD(model, 0.1)
    count, size = 2 * batch_size + 20, 3
    read = [
        local_samples(model, optimizer, (1, 32, 32), count, batch_size, Some(rank, size))
        for rank in range(size)
    ]
    times = np.sum(read, axis=0)
    assert times.min() >= 1
    if batch_size > 16:
        # The one after each run of shards, with which the last may be mixed.
        steps, runs = 3, size * (2 if batch_size > 1024 else 1)
        assert times.sum() - count <= steps * runs
        assert max(map(np.sum, read)) < 0.6 * count


def test_steps_that_go_sample_by_sample_are_read_by_all():
    model = rank_cases.nn.LeNet5(rng=0)
    optimizer = rank_cases.optim.SGD(model, 0.1)
    for rank in range(2):
        own = local_samples(model, optimizer, (1, 32, 32), 103, 100, Some(rank, 2))
        assert own[100:].all() and not own[:100].all()


@pytest.mark.parametrize("count", [0, 1, 95, 96, 97, 1000, 1001])
def test_evaluation_is_shared_out_in_whole_tiles(count):
    slices = [Some(rank, 3).share(count) for rank in range(3)]
    if count < 96:
        assert slices == [slice(0, count)] * 3
        return
    assert slices[0].start == 0 and slices[-1].stop == count
    for before, after in pairwise(slices):
        assert before.stop == after.start and before.stop % 16 == 0
    # A few samples would go one by one, and have other last digits.
    assert min(each.stop - each.start for each in slices) > 16


def test_a_rank_reads_its_part_of_a_file_alone(tmp_path, monkeypatch):
    data = mnist()[0].take(np.arange(300))
    (tmp_path / "images").write_bytes(data.images.tobytes())
    images = MappedImages(tmp_path / "images", 0, 300, (1, 28, 28))
    mapped = Dataset(images, data.labels, 10, data.name)
    read = MappedImages._read
    places = []
    monkeypatch.setattr(
        MappedImages, "_read", lambda self, index: places.extend(index) or read(self, index)
    )

    class Second(Some):
        """Receives nothing from other ranks; only its reads are checked."""

        def window(self, floats):
            return np.zeros(floats, np.float32)

        def gather(self, number):
            return [number]

    trainer = rank_cases.make(mapped, rank_cases.small_net(), 100, epochs=1)
    trainer.validation_set = None
    trainer.ranks = Second(1, 2)
    trainer.run()
    assert len(places) == len(set(places)) < 180


def test_a_process_alone_has_no_ranks(monkeypatch):
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (launched_rank(), launched_size()) == (0, 1)
    ranks = open_ranks()
    assert (ranks.rank, ranks.size, ranks.first) == (0, 1, True)
    assert ranks.gather(3) == [3] and ranks.broadcast({"a": 1}) == {"a": 1}
    assert ranks.share(1000) == slice(0, 1000)


@pytest.mark.parametrize(
    "variables, rank, size",
    [
        ({"PMI_RANK": "2", "PMI_SIZE": "3"}, 2, 3),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, 1, 2),
        ({"PMIX_RANK": "4"}, 4, None),
        ({"PMI_RANK": "x"}, 0, 1),
    ],
)
def test_the_environment_tells_rank_and_size(monkeypatch, variables, rank, size):
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (launched_rank(), launched_size()) == (rank, size)
