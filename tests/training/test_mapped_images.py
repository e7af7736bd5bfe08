"""Training and evaluation on memory-mapped images: bit-identical to images in memory."""

import numpy as np
import pytest

from lenet5c import kernels, nn
from lenet5c.datasets import Dataset, Distortion, Preparation, Source
from lenet5c.datasets.mapped import MappedImages
from lenet5c.optim import SDLM, SGD, Constant
from lenet5c.recipes import recipe
from lenet5c.recipes.run import data_digest
from lenet5c.training import Trainer, evaluate, match_dataset, open_model
from lenet5c.training import evaluation as evaluation_module


@pytest.fixture
def sets(tmp_path, mnist_slice):
    """Return the same images in memory and in a file, to train on."""
    train = mnist_slice[0].take(np.arange(700))
    (tmp_path / "images").write_bytes(train.images.tobytes())
    images = MappedImages(tmp_path / "images", 0, 700, (1, 28, 28))
    return train, Dataset(images, train.labels, 10, train.name)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Limit a run of steps to 100 images."""
    monkeypatch.setattr("lenet5c.datasets.mapped._BLOCK", 100 * 28 * 28)


def make(train_set, **settings):
    """Return a trainer on a random half of a data set, validated on the rest."""
    given, held_out = train_set.split(200, seed=1)
    model = nn.LeNet5(rng=3)
    return Trainer(
        model,
        settings.pop("optimizer", SGD)(model, 0.01),
        Constant(0.01),
        nn.CrossEntropyLoss(),
        settings.pop("preparation", Preparation.named("default")),
        given,
        held_out,
        batch_size=32,
        epochs=2,
        seed=5,
        **settings,
    )


def outcome(trainer):
    """Return the parameters and the history of a trainer."""
    return trainer.model.vector.copy(), trainer.history


def train(train_set, threads=2, **settings):
    """Return the parameters and the history after a training."""
    kernels.set_num_threads(threads)
    trainer = make(train_set, **settings)
    assert trainer.run()
    return outcome(trainer)


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


@pytest.fixture(autouse=True)
def threads():
    """Restore the number of threads."""
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"distortion": Distortion.named("modern")},
        {"average": 0.9, "order": "constant"},
        {"optimizer": SDLM},
        {"preparation": Preparation.named("resized")},
    ],
    ids=["plain", "distorted", "averaged", "second derivatives", "resized"],
)
def test_the_same_bits_as_in_memory(sets, settings):
    in_memory, in_file = sets
    expected = train(in_memory, **settings)
    for threads in (1, 3):
        assert_same(train(in_file, threads, **settings), expected)


def test_the_same_bits_of_layers_in_numpy(sets):
    changes = {"batch_norm": True, "epochs": 1, "validation": 100, "batch_size": 50}
    results = []
    for each in sets:
        trainer, _ = recipe("default", **changes).build(Source(each, each), seed=0)
        trainer.run()
        results.append(outcome(trainer))
    assert_same(*results)


@pytest.mark.parametrize("distortion", [None, Distortion.named("paper1998")])
def test_a_resumed_training_ends_with_the_same_bits(sets, tmp_path, distortion):
    in_memory, in_file = sets
    expected = train(in_memory, distortion=distortion)
    stops = iter([False, True])
    trainer = make(in_file, distortion=distortion)
    assert not trainer.run(stop=lambda: next(stops, False))
    assert trainer.step > 0
    trainer.save(tmp_path / "checkpoint")
    for train_set in (in_file, in_memory):
        resumed = make(train_set, distortion=distortion)
        resumed.load(tmp_path / "checkpoint")
        assert resumed.run()
        assert_same(outcome(resumed), expected)


def test_a_file_that_breaks_off_ends_the_training(sets):
    trainer = make(sets[1])
    with open(trainer.train_set.images.path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(OSError, match="it has changed since it was opened"):
        trainer.run()


def test_evaluation_in_blocks(sets, monkeypatch):
    in_memory, in_file = sets
    trained = open_model()
    expected = evaluate(trained, in_memory)
    found = evaluate(trained, in_file)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    assert found.loss == expected.loss
    monkeypatch.setattr(evaluation_module, "BLOCK", 300)
    blocks = evaluate(trained, in_file)
    np.testing.assert_array_equal(blocks.probabilities, expected.probabilities)
    assert blocks.loss == evaluate(trained, in_memory).loss
    assert blocks.loss == pytest.approx(expected.loss, rel=1e-12)


def test_images_of_another_size_are_resized_when_they_are_read(sets):
    smaller = [
        Dataset(images, sets[0].labels, 10)
        for images in (
            np.ascontiguousarray(sets[0].images[:, :, 4:24, 4:24]),
            sets[1].images.apply(lambda batch: batch[:, :, 4:24, 4:24]),
        )
    ]
    (expected, notes), (found, same_notes) = (match_dataset(open_model(), each) for each in smaller)
    assert isinstance(found.images, MappedImages) and notes == same_notes
    np.testing.assert_array_equal(found.images, expected.images)


def test_the_digest_of_the_data_is_the_same(sets):
    first, second = (data_digest(Source(each, each)) for each in sets)
    assert first == second
