"""Training from an existing model: net and classes, frozen layers, rehearsal."""

from dataclasses import replace

import numpy as np
import pytest

import lenet5c
from lenet5c import kernels, nn
from lenet5c.datasets import Dataset, Preparation, Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, recipe, train
from lenet5c.recipes.start import (
    choose_rehearsed,
    find_turn,
    fit_source,
    mix,
    rate_factors,
    take_net,
    turn,
    turn_net,
)
from lenet5c.training import TrainedModel, open_model, save_model

QUICK = {"epochs": 1, "epoch_images": 0, "average": 0.0, "distortion": "none"}


def rename(dataset, names):
    """Give a data set of the ten digits other names, or only the first few classes."""
    kept = dataset.take(np.flatnonzero(dataset.labels < len(names)))
    return replace(kept, num_classes=len(names), class_names=tuple(names))


@pytest.fixture
def few(mnist_slice):
    train, test = mnist_slice
    return Source(train.take(range(160)), test.take(range(50)))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop", "lion"])
def test_frozen_layers_keep_their_bytes_at_any_thread_count(few, optimizer):
    """Neither gradients nor momentum nor weight decay move them; the others have the same bits."""
    lr, start = recipe(optimizer=optimizer).lr / 10, open_model()
    changes = {"optimizer": optimizer, "lr": lr, "batch_size": 48, "epochs": 2}
    if optimizer != "lion":
        changes["weight_decay"] = 0.1
    vectors, usual = [], kernels.get_num_threads()
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        try:
            trainer = lenet5c.trainer(
                None, few, start=start, freeze=["conv1", "fc2"], **QUICK | changes
            )
            trainer.run()
        finally:
            kernels.set_num_threads(usual)
        vectors.append(trainer.model.vector.copy())
    before, after = start.model.state_dict(), trainer.model.state_dict()
    same = {name for name in before if before[name].tobytes() == after[name].tobytes()}
    assert same == {"conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias"}
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def test_a_frozen_training_resumes_to_the_same_bytes(few, tmp_path):
    def make(**changes):
        options = QUICK | {"epochs": 2, "epoch_images": 400, "freeze": ["conv1"]} | changes
        return lenet5c.trainer(None, few, start="best", rehearse=few.train, **options)

    whole, cut, resumed = make(), make(), make()
    whole.run()
    cut.run(stop=lambda: cut.steps_taken >= 3)
    cut.save(tmp_path / "cut")
    resumed.load(tmp_path / "cut")
    resumed.run()
    np.testing.assert_array_equal(resumed.model.vector, whole.model.vector)
    with pytest.raises(RunError, match="rate_factors"):
        make(freeze=["conv2"]).load(tmp_path / "cut")


def test_frozen_batch_normalization_keeps_its_statistics(few):
    model = nn.LeNet5(batch_norm=True, pooling="avg", rng=0)
    start = TrainedModel(model, Preparation.named("default"), tuple("0123456789"))
    trainer = lenet5c.trainer(None, few, start=start, freeze=["conv1", "norm2"], **QUICK)
    trainer.run()
    before, after = start.model.state_dict(), trainer.model.state_dict()
    same = {name for name in before if before[name].tobytes() == after[name].tobytes()}
    statistics = {"running_mean", "running_var", "num_batches_tracked", "weight", "bias"}
    assert same == {"conv1.weight", "conv1.bias"} | {
        f"{layer}.{name}" for layer in ("norm1", "norm2") for name in statistics
    }
    assert trainer.model["norm3"].buffers["num_batches_tracked"] > 0


def test_rates_fall_from_the_last_layer_to_the_first():
    factors = rate_factors(nn.LeNet5(batch_norm=True, rng=0), 0.5, ["fc1"])
    assert factors == {
        "conv1": 1 / 16,
        "norm1": 1 / 16,
        "conv2": 1 / 8,
        "norm2": 1 / 8,
        "fc1": 0,
        "norm3": 0,
        "fc2": 1 / 2,
        "norm4": 1 / 2,
        "fc3": 1,
    }
    with pytest.raises(ValueError, match="freeze must contain layers .* fc3, got 'conv9'"):
        rate_factors(nn.LeNet5(rng=0), 1, ["conv9"])
    with pytest.raises(ValueError, match="freeze must leave at least one layer to train"):
        rate_factors(nn.LeNet5(rng=0), 1, ["conv1", "conv2", "fc1", "fc2", "fc3"])


def test_the_last_layer_keeps_the_rows_of_classes_it_knows(few):
    start = open_model()
    names = ("7", "a", "0", "b", "3", "c", "d", "e", "f", "g", "1")
    relabeled = Source(
        *(replace(each, num_classes=11, class_names=names) for each in (few.train, few.test))
    )
    source, notes = fit_source(start, relabeled)
    assert notes == [
        "its classes differ from those of the model: the last layer is new "
        "except for '7', '0', '3' and '1'"
    ]
    trainer = lenet5c.trainer(None, source, start=start, **QUICK)
    assert trainer.trained.class_names == names
    old, new = (model.state_dict() for model in (start.model, trainer.model))
    for own, theirs in ((0, 7), (2, 0), (4, 3), (10, 1)):
        np.testing.assert_array_equal(new["fc3.weight"][own], old["fc3.weight"][theirs])
        assert new["fc3.bias"][own] == old["fc3.bias"][theirs]
    np.testing.assert_array_equal(new["fc2.weight"], old["fc2.weight"])
    with pytest.raises(ValueError, match="freeze must not contain fc3"):
        lenet5c.trainer(None, source, start=start, freeze=["fc3"], **QUICK)


def test_some_of_the_classes_keep_the_last_layer(few):
    some = rename(few.train, "012")
    reordered = replace(some, class_names=("2", "0", "1"), labels=(some.labels + 1) % 3)
    source, notes = fit_source(open_model(), Source(reordered, reordered))
    assert notes == ["it has 3 classes of the model's 10; the others are kept"]
    np.testing.assert_array_equal(source.train.labels, some.labels)
    assert source.train.class_names == tuple("0123456789")
    assert fit_source(open_model(), few)[0].train is few.train


def test_classes_are_matched_by_their_meaning(few):
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    written = replace(few.train, class_names=tuple(words))
    source, notes = fit_source(open_model(), Source(written, written))
    assert source.train.class_names == tuple("0123456789") and notes == []


def test_images_are_brought_to_the_model(few):
    colored = replace(few.train, images=np.repeat(few.train.images[:, :, :20], 3, axis=1))
    source, notes = fit_source(open_model(), Source(colored, colored))
    assert source.train.images.shape == (160, 1, 28, 28)
    assert notes[0] == "its images are converted to gray, like those of the model"
    assert "images of 20 x 28 pixels are resized to the 28 x 28 of the training images" in notes[1]
    two = replace(few.train, images=np.repeat(few.train.images, 2, axis=1))
    with pytest.raises(ValueError, match="images must have 1 channel for the initial model, got 2"):
        fit_source(open_model(), Source(two, two))


def test_the_net_comes_from_the_model():
    start = TrainedModel(nn.LeNet5_1998(rng=0), Preparation.named("default"), tuple("0123456789"))
    taken = take_net(recipe("finetune"), start)
    assert (taken.net, taken.loss, taken.model) == ("lenet5_1998", "mle", {})
    best = open_model()
    assert take_net(recipe("finetune", dropout=0.2), best).model["dropout"] == 0.2
    for asked, words in (
        ({"pooling": "max"}, "pooling must be 'avg', as in the initial model"),
        ({"fit": "pad"}, "fit must not be set"),
        ({"net": "lenet5_1998"}, "net must be 'lenet5'"),
    ):
        with pytest.raises(ValueError, match=words):
            take_net(recipe("finetune"), best, asked)
    with pytest.raises(ValueError, match="rehearse must be None without an initial model"):
        RunConfig.named(rehearse="none")
    with pytest.raises(RunError, match="which does not exist"):
        RunConfig.named(start="runs/none")


def test_samples_are_repeated_and_others_rehearsed(few):
    start, weights = open_model(), np.full(160, 2, np.float32)
    samples = replace(
        few.train, sample_weight=weights, targets=np.eye(10, dtype=np.float32)[few.train.labels]
    )
    chosen = choose_rehearsed(start, few.test, samples, 0)
    mixed = mix(samples, 3, chosen, start.preparation.fit_images)
    assert len(mixed) == 3 * 160 + 50
    np.testing.assert_array_equal(mixed.labels[:480], np.tile(few.train.labels, 3))
    np.testing.assert_array_equal(mixed.targets.argmax(axis=1), mixed.labels)
    assert mixed.sample_weight[0] == 2 and mixed.sample_weight[-1] == 1
    # Of classes that are left only; none where all are others.
    odd = Dataset(few.train.images, few.train.labels % 3, 3, class_names=("4", "x", "9"))
    assert set(choose_rehearsed(start, few.test, odd, 0).labels.tolist()) == {0, 2}
    others = replace(odd, class_names=("x", "y", "z"))
    assert choose_rehearsed(start, few.test, others, 0) is None


@pytest.mark.parametrize("number", range(8))
def test_a_turned_net_knows_turned_images(few, number):
    start = open_model()
    turned = replace(few.train, images=turn(few.train.images, number))
    assert find_turn(start, turned) == number
    model = nn.LeNet5(pooling="avg", rng=0)
    model.load_state_dict(start.model.state_dict())
    turn_net(model, number)
    np.testing.assert_allclose(
        model.outputs(start.preparation.samples(turned.images)),
        start.model.outputs(start.preparation.samples(few.train.images)),
        rtol=1e-3,
        atol=1e-3,
    )


def test_frozen_layers_are_not_turned(few):
    start, turned = open_model(), replace(few.train, images=turn(few.train.images, 4))
    trainers = [lenet5c.trainer(None, turned, start=start, freeze=each) for each in ([], ["conv1"])]
    same = [
        (trainer.model["conv1"].params["weight"] == start.model["conv1"].params["weight"]).all()
        for trainer in trainers
    ]
    assert same == [False, True]


def test_a_model_in_memory_takes_what_a_named_one_takes(few):
    """Names of data to rehearse; settings of its net must be its own."""
    start = open_model()
    for name, count in (("none", 160), ("mnist", 160 + 12_000)):
        for model in (start, "best"):
            trainer = lenet5c.trainer(
                None, few, start=model, rehearse=name, validation=0, epoch_images=0
            )
            assert len(trainer.train_set) == count
    for model in (start, "best"):
        with pytest.raises(ValueError, match="activation must be 'relu'"):
            lenet5c.trainer(None, few, start=model, activation="tanh")
    for rehearse in ("mnist", few.test):
        with pytest.raises(ValueError, match="must be None without an initial model"):
            lenet5c.trainer("fast", few, rehearse=rehearse)


def test_a_run_records_its_start(few, tmp_path):
    model = tmp_path / "model.safetensors"
    save_model(model, open_model())
    config = RunConfig.named(start=model, folder=tmp_path / "run", **QUICK)
    assert config.recipe == "finetune"
    run = train(config, few)
    assert run.summary["start_test_accuracy"] >= 0.98
    stored = RunConfig.read(run.folder)
    assert stored.start == str(model) and stored.get("pooling") == "avg"
    # The copy beside the checkpoint is what it goes on with.
    model.unlink()
    assert train(stored, few, resume=True).summary == run.summary
    save_model(run.folder.start_file, run.trained)
    with pytest.raises(RunError, match="start must be the model with which the run in"):
        train(stored, few, resume=True)


def test_validation_images_are_held_out_where_they_are_many():
    chosen = recipe("finetune")
    assert (chosen.validation, chosen.least_validation, chosen.keep) == (0.1, 200, "best")
    assert chosen.change(validation=20).least_validation == 0
    assert chosen.change(validation=0).keep == "last"
