"""Recipes: what is checked, what changes along, and what the data decides."""

import numpy as np
import pytest

from lenet5c.datasets import Dataset
from lenet5c.optim import SGD, Adam
from lenet5c.recipes import OPTIMIZERS, RECIPES, Recipe, pixel_statistics, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_sound_and_say_what_they_are_for(name):
    assert recipe(name) == RECIPES[name] == Recipe(summary=RECIPES[name].summary, **RECIPES[name].to_dict())
    assert RECIPES[name].summary


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_optimiser_brings_its_settings_along(name):
    chosen = recipe("default", optimizer=name)
    assert {"lr": chosen.lr, "weight_decay": chosen.weight_decay} == OPTIMIZERS[name]
    chosen = recipe("default", optimizer=name, lr=0.123)
    assert (chosen.lr, chosen.weight_decay) == (0.123, OPTIMIZERS[name]["weight_decay"])


@pytest.mark.parametrize("name, kind, decoupled", [("adam", Adam, False), ("adamw", Adam, True), ("sgd", SGD, None)])
def test_the_optimiser_is_the_one_asked_for(mnist_slice, name, kind, decoupled):
    trainer, _ = recipe("fast", optimizer=name).build(mnist_slice[0], seed=0)
    assert type(trainer.optimizer) is kind
    assert getattr(trainer.optimizer, "decoupled", None) is decoupled


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one-cycle"])
def test_every_optimiser_learns_with_every_schedule(mnist_slice, name, schedule):
    trainer, _ = recipe("default", optimizer=name, schedule=schedule, epochs=5).build(mnist_slice[0], seed=0)
    trainer.run()
    assert trainer.history[-1]["validation_accuracy"] > 0.85


@pytest.mark.parametrize(
    "change, word",
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1.0}, "epochs"),
        ({"batch_size": True}, "batch_size"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": 10**400}, "lr"),
        ({"momentum": 1}, "momentum"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"schedule": "none"}, "schedule"),
        ({"fit": "crop"}, "fit"),
        ({"train_size": 0}, "train_size"),
        ({"train_size": 10.0}, "train_size"),
    ],
)
def test_settings_out_of_range(change, word):
    with pytest.raises(ValueError, match=f"^{word} is "):
        recipe("default", **change)


def test_unknown_recipes():
    with pytest.raises(ValueError, match="'best-ever'.*default, fast"):
        recipe("best-ever")


@pytest.mark.parametrize("validation, held_out", [(0, None), (0.25, 10), (1, 1), (39, 39)])
def test_validation_is_a_number_or_a_share(validation, held_out):
    data = Dataset(np.zeros((40, 1, 28, 28), np.uint8), np.arange(40) % 10, 10)
    trainer, _ = recipe("default", validation=validation).build(data, seed=0)
    assert (trainer.validation_set and len(trainer.validation_set)) == held_out
    assert len(trainer.train_set) == 40 - (held_out or 0)


def test_a_part_of_the_training_images_follows_from_the_seed():
    data = Dataset(np.arange(40, dtype=np.uint8).repeat(28 * 28).reshape(40, 1, 28, 28), np.arange(40) % 10, 10)

    def used(seed, **changes):
        trainer, _ = recipe("default", **changes).build(data, seed)
        return [sorted(part.images[:, 0, 9, 9].tolist()) for part in (trainer.train_set, trainer.validation_set)]

    rest, held_out = used(0, train_size=20, validation=5)
    assert (len(rest), len(held_out)) == (15, 5) and len({*rest, *held_out}) == 20
    assert used(0, train_size=20, validation=5) == [rest, held_out] != used(1, train_size=20, validation=5)
    assert used(0, train_size=40) == used(0)
    with pytest.raises(ValueError, match="train_size is 41.*40 training images"):
        used(0, train_size=41)


@pytest.mark.parametrize("side, fit", [(8, "resize"), (20, "pad"), (28, "pad"), (32, "pad"), (33, "resize")])
def test_images_are_padded_where_they_fit_about(side, fit):
    data = Dataset(np.zeros((40, 1, side, side), np.uint8), np.arange(40) % 10, 10)
    _, trained = recipe("default").build(data, seed=0)
    assert (trained.preparation.fit, trained.preparation.size) == (fit, (32, 32))


def test_pixel_statistics(mnist_slice):
    images = mnist_slice[0].images
    assert pixel_statistics(images) == (round(images.mean() / 255, 4), round(images.std() / 255, 4))
    assert pixel_statistics(np.full((3, 1, 4, 4), 7, np.uint8)) == (round(7 / 255, 4), 1.0)
