"""Recipes: checks, dependent settings, choices by the data, and the list of recipes."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lenet5c.__main__ import main
from lenet5c.datasets import Dataset, Preparation
from lenet5c.nn import BatchNorm2d, Conv2d, CrossEntropyLoss, Dropout, MSELoss
from lenet5c.optim import (
    OPTIMIZERS,
    SGD,
    Adagrad,
    Adam,
    Constant,
    Cosine,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    RMSprop,
    Step,
)
from lenet5c.recipes import RECIPES, Recipe, recipe, reported, trainer
from lenet5c.recipes.build import MAX_PARAMETERS, make_schedule, pixel_statistics


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_sound_and_say_what_they_are_for(name):
    settings = RECIPES[name].to_dict()
    assert recipe(name) == RECIPES[name] == Recipe(**settings) == Recipe.from_dict(settings)
    assert json.loads(json.dumps(settings)) == settings
    assert recipe(name).summary == RECIPES[name].summary != ""
    assert bool(str(reported(name))) == bool(RECIPES[name].reproduces)
    assert settings.keys() == Recipe.settings().keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_optimizer_brings_its_settings_along(name):
    other = "pynet" if name != "sgd" else "default"
    chosen = recipe(other, optimizer=name)
    entry = OPTIMIZERS[name]
    assert (chosen.lr, chosen.weight_decay) == (entry.lr, entry.weight_decay)
    chosen = recipe(other, optimizer=name, lr=0.123)
    assert (chosen.lr, chosen.weight_decay) == (0.123, entry.weight_decay)


@pytest.mark.parametrize(
    "name, kind, decoupled",
    [
        ("adam", Adam, False),
        ("adamw", Adam, True),
        ("sgd", SGD, None),
        ("adagrad", Adagrad, None),
        ("rmsprop", RMSprop, None),
    ],
)
def test_the_optimizer_is_the_one_asked_for(mnist_slice, name, kind, decoupled):
    trainer, _ = recipe("fast", optimizer=name).build(mnist_slice[0], seed=0)
    assert type(trainer.optimizer) is kind
    assert getattr(trainer.optimizer, "decoupled", None) is decoupled


@pytest.mark.parametrize("name", ["adam", "sgd", "adagrad", "rmsprop"])
@pytest.mark.parametrize(
    "schedule", ["constant", "step", "cosine", "one-cycle", "reduce-on-plateau"]
)
def test_every_optimizer_learns_with_every_schedule(mnist_slice, name, schedule):
    trainer, _ = recipe("default", optimizer=name, schedule=schedule, epochs=5).build(
        mnist_slice[0], seed=0
    )
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
        ({"optimizer": "adamm"}, "optimizer"),
        ({"schedule": "none"}, "schedule"),
        ({"fit": "crop"}, "fit"),
        ({"fit": ["pad"]}, "fit"),
        ({"fit": "pad", "preparation": "resized"}, "fit"),
        ({"net": "alexnet"}, "net"),
        ({"optimizer": ["sgd"]}, "optimizer"),
        ({"loss": "hinge"}, "loss"),
        ({"preparation": "seed9"}, "preparation"),
        ({"split": "first"}, "split"),
        ({"order": "random"}, "order"),
        ({"keep": "first"}, "keep"),
        ({"keep": "best", "validation": 0}, "keep"),
        ({"patience": 1.0}, "patience"),
        ({"patience": -1}, "patience"),
        ({"patience": 2, "validation": 0}, "patience"),
        ({"schedule": "reduce-on-plateau", "validation": 0}, "schedule"),
        ({"average": 1}, "average"),
        ({"average": "0.9"}, "average"),
        ({"distortion": 0.5}, "distortion"),
        ({"model": None}, "model"),
        ({"optimizer_settings": []}, "optimizer_settings"),
        ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing"),
        ({"train_size": 0}, "train_size"),
        ({"class_weight": "equal"}, "class_weight"),
        ({"class_weight": {"a": 0}}, "class_weight"),
        ({"class_weight": {"a": "b"}}, "class_weight"),
        ({"train_size": 10.0}, "train_size"),
    ],
)
def test_settings_out_of_range(change, word):
    with pytest.raises(ValueError, match=f"^{word} must be .*, got "):
        recipe("default", **change)


def test_settings_of_the_net_and_names_of_distortions():
    found = recipe("best", activation="tanh", pooling="max", dropout=0.5, distortion="none")
    assert found.model == {"pooling": "max", "activation": "tanh", "dropout": 0.5}
    assert found.distortion is None and RECIPES["best"].model == {}
    assert recipe("default", distortion="modern").distortion == RECIPES["best"].distortion
    for change, word in (
        ({"activation": "cube"}, "activation must be one of relu, "),
        ({"dropout": 1}, "dropout must be a number of at least 0 and less than 1, got 1"),
        ({"batch_norm": 1}, "batch_norm must be True or False"),
        ({"distortion": "strong"}, "distortion must be a dict of settings, or one of none, "),
        ({"distortion": {"wave": 1}}, "distortion: "),
    ):
        with pytest.raises(ValueError, match=f"^{word}"):
            recipe("default", **change)


def test_a_configuration_from_a_file_is_checked():
    values = RECIPES["fast"].to_dict()
    with pytest.raises(ValueError, match="lacks the setting epochs"):
        Recipe.from_dict({name: values[name] for name in values if name != "epochs"})
    with pytest.raises(ValueError, match="unknown setting color"):
        Recipe.from_dict(values | {"color": 1})


def test_the_docstring_has_all_settings():
    for name, setting in Recipe.settings().items():
        assert f"\n{name} : {setting.kind.form}\n" in Recipe.__doc__


def test_unknown_fields():
    with pytest.raises(
        TypeError, match="must be fields of a recipe, got epoch; did you mean epochs"
    ):
        recipe("default", epoch=3)
    with pytest.raises(
        TypeError, match="must be fields of a recipe, got zzz; use one of .*batch_size"
    ):
        recipe("default", zzz=3)


@pytest.mark.parametrize("seed", [-1, None, 0.5, True, "0"])
def test_wrong_seeds(seed):
    with pytest.raises(ValueError, match="^seed must be an integer"):
        trainer("fast", train_size=1000, seed=seed)


def test_numbers_of_numpy_are_numbers():
    found = recipe(
        "default",
        epochs=np.int64(3),
        lr=np.float32(0.25),
        train_size=np.int32(900),
        optimizer_settings={"betas": (np.float64(0.5), np.float32(0.75))},
        model={"batch_norm": np.bool_(True), "dropout": np.float32(0.5)},
    )
    assert found == recipe(
        "default",
        epochs=3,
        lr=0.25,
        train_size=900,
        optimizer_settings={"betas": (0.5, 0.75)},
        model={"batch_norm": True, "dropout": 0.5},
    )
    assert json.loads(json.dumps(found.to_dict()))["lr"] == 0.25


def test_unknown_recipes():
    with pytest.raises(ValueError, match="recipe must be one of default, fast.*'best-ever'"):
        recipe("best-ever")


@pytest.mark.parametrize("validation, held_out", [(0, None), (0.25, 10), (1, 1), (39, 39)])
def test_validation_is_a_number_or_a_share(validation, held_out):
    data = Dataset(np.zeros((40, 1, 28, 28), np.uint8), np.arange(40) % 10, 10)
    trainer, _ = recipe("default", validation=validation).build(data, seed=0)
    assert (trainer.validation_set and len(trainer.validation_set)) == held_out
    assert len(trainer.train_set) == 40 - (held_out or 0)


def test_a_part_of_the_training_images_follows_from_the_seed():
    data = Dataset(
        np.arange(40, dtype=np.uint8).repeat(28 * 28).reshape(40, 1, 28, 28), np.arange(40) % 10, 10
    )

    def used(seed, **changes):
        trainer, _ = recipe("default", **changes).build(data, seed)
        return [
            sorted(part.images[:, 0, 9, 9].tolist())
            for part in (trainer.train_set, trainer.validation_set)
        ]

    rest, held_out = used(0, train_size=20, validation=5)
    assert (len(rest), len(held_out)) == (15, 5) and len({*rest, *held_out}) == 20
    assert (
        used(0, train_size=20, validation=5)
        == [rest, held_out]
        != used(1, train_size=20, validation=5)
    )
    assert used(0, train_size=40) == used(0)
    with pytest.raises(
        ValueError, match="train_size must be at most the 40 training images, got 41"
    ):
        used(0, train_size=41)


@pytest.mark.parametrize(
    "side, fit", [(8, "resize"), (20, "pad"), (28, "pad"), (32, "pad"), (33, "resize")]
)
def test_images_are_padded_where_they_fit_about(side, fit):
    data = Dataset(np.zeros((40, 1, side, side), np.uint8), np.arange(40) % 10, 10)
    _, trained = recipe("default").build(data, seed=0)
    assert (trained.preparation.fit, trained.preparation.size) == (fit, (32, 32))


def test_pixel_statistics(mnist_slice):
    images = mnist_slice[0].images
    assert pixel_statistics(images) == (round(images.mean() / 255, 4), round(images.std() / 255, 4))
    assert pixel_statistics(np.full((3, 1, 4, 4), 7, np.uint8)) == (round(7 / 255, 4), 1.0)


DATA = Dataset(
    np.random.default_rng(0).integers(256, size=(40, 1, 28, 28), dtype=np.uint8),
    np.arange(40) % 10,
    10,
)


def built(**changes):
    return recipe("default", **{"validation": 8} | changes).build(DATA, seed=0)


@pytest.mark.parametrize(
    "change, word",
    [
        (
            {"optimizer_settings": {"nesterov": False}},
            "must be settings of the optimizer adamw .betas, eps.",
        ),
        (
            {"optimizer": "sgd", "optimizer_settings": {"momentum": 0.5}},
            "must be settings of the optimizer sgd .nesterov.",
        ),
        (
            {"schedule_settings": {"gamma": 0.1}},
            "must be settings of the schedule one-cycle .warm_up, start_divisor, final_divisor.",
        ),
        (
            {"schedule": "constant", "schedule_settings": {"gamma": 0.1}},
            "must be settings of the schedule constant .none.",
        ),
        ({"optimizer_settings": {"eps": "x"}}, "eps must be a number, got 'x'"),
        ({"optimizer_settings": {"eps": float("nan")}}, "eps must be a number, got nan"),
        ({"optimizer_settings": {"betas": 3}}, "betas must be a list of 2 numbers, got 3"),
        ({"optimizer_settings": {"betas": [0.9, None]}}, "betas must be a list of 2 numbers"),
        (
            {"optimizer": "sgd", "optimizer_settings": {"nesterov": 1}},
            "nesterov must be True or False, got 1",
        ),
        (
            {"schedule": "step", "schedule_settings": {"every": 1.5}},
            "every must be an integer of at least 0, got 1.5",
        ),
        (
            {"schedule": "reduce-on-plateau", "schedule_settings": {"patience": True}},
            "patience must be an integer of at least 0, got True",
        ),
    ],
)
def test_settings_that_are_not_of_the_optimizer_or_schedule(change, word):
    with pytest.raises(ValueError, match=word):
        recipe("default", **change)


def test_settings_of_optimizers():
    adam = built(optimizer="adam", optimizer_settings={"eps": 1e-7, "betas": [0.8, 0.9]})[
        0
    ].optimizer
    assert (adam.eps, adam.betas) == (1e-7, (0.8, 0.9))
    for momentum, settings, nesterov in (
        (0.9, {}, True),
        (0, {}, False),
        (0.5, {"nesterov": False}, False),
    ):
        sgd = built(optimizer="sgd", momentum=momentum, optimizer_settings=settings)[0].optimizer
        assert (sgd.momentum, sgd.nesterov) == (momentum, nesterov)
    rmsprop = built(optimizer="rmsprop", optimizer_settings={"alpha": 0.9, "momentum": 0.5})[
        0
    ].optimizer
    assert (rmsprop.alpha, rmsprop.momentum) == (0.9, 0.5)
    adagrad = built(optimizer="adagrad", optimizer_settings={"initial_accumulator_value": 0.5})[
        0
    ].optimizer
    assert (adagrad.squares == 0.5).all()


@pytest.mark.parametrize(
    "schedule, settings, expected",
    [
        ("constant", {}, Constant(0.1)),
        ("step", {}, Step(0.1, every=14)),
        ("step", {"every": 3, "gamma": 0.5}, Step(0.1, every=12, gamma=0.5)),
        ("cosine", {"final": 0.01}, Cosine(0.1, 40, 0.01)),
        ("one-cycle", {"warm_up": 0.1}, OneCycle(0.1, 40, 0.1)),
        ("reduce-on-plateau", {}, ReduceOnPlateau(0.1, patience=2)),
        ("reduce-on-plateau", {"patience": 5, "factor": 0.5}, ReduceOnPlateau(0.1, 0.5, 5)),
    ],
)
def test_schedules_count_epochs(schedule, settings, expected):
    trainer, _ = built(
        lr=0.1, batch_size=8, schedule=schedule, schedule_settings=settings
    )  # 4 steps an epoch
    assert trainer.schedule == expected


def test_another_schedule_or_loss_drops_what_was_not_for_it():
    one_cycle = recipe("default", schedule_settings={"warm_up": 0.1})
    assert one_cycle.schedule_settings == {"warm_up": 0.1}
    assert recipe("mean-image").optimizer_settings == {"eps": 1e-7}
    assert recipe("mean-image", optimizer="rmsprop").optimizer_settings == {}
    assert recipe(
        "mean-image", optimizer="adamw", optimizer_settings={"eps": 1e-6}
    ).optimizer_settings == {"eps": 1e-6}
    assert recipe("default", loss="mse").label_smoothing == 0


def test_losses():
    assert type(built()[0].loss) is CrossEntropyLoss and type(built(loss="mse")[0].loss) is MSELoss


@pytest.mark.parametrize("name", Preparation.NAMES)
def test_named_preparations(name):
    trainer, trained = built(preparation=name)
    rest = DATA.split(8, 0, stratify=True)[0]  # without the images held out
    expected = Preparation.named(name, rest.images)
    assert trained.preparation.to_dict() == expected.to_dict()
    assert (trained.preparation.offset(1) == expected.offset(1)).all()
    assert trainer.model.input_shape == (1, *expected.size)


def test_the_last_images_may_be_held_out():
    trainer, _ = built(split="last")
    assert (trainer.validation_set.labels == DATA.labels[-8:]).all() and len(
        trainer.train_set
    ) == 32
    assert (built()[0].validation_set.labels != DATA.labels[-8:]).any()


def test_the_rest_goes_to_the_trainer():
    trainer, _ = built(average=0.9, keep="best", patience=3)
    assert (trainer.average.decay, trainer.keep, trainer.patience) == (0.9, "best", 3)


@pytest.mark.parametrize(
    "count, held_out, stratified", [(200, 0.25, True), (2000, 990, True), (2000, 1010, False)]
)
def test_splits_are_stratified_where_chance_would_tell(count, held_out, stratified):
    """For 10 classes of equal size: unless 100 images per class are expected in the part."""
    labels = np.random.default_rng(0).permutation(np.arange(count) % 10)
    data = Dataset(np.zeros((count, 1, 28, 28), np.uint8), labels, 10)

    def held(**changes):
        trainer, _ = recipe("default", validation=held_out, **changes).build(data, seed=0)
        return trainer.validation_set.labels

    counts = np.bincount(held(), minlength=10)
    assert (np.ptp(counts) <= 1) == stratified
    assert (held() == held(split="stratified" if stratified else "random")).all()
    assert np.ptp(np.bincount(held(split="random"), minlength=10)) > 1
    part = recipe("default", train_size=50, validation=0).build(data, 0)[0].train_set
    assert (np.bincount(part.labels) == 5).all()


def test_class_weights(mnist_slice):
    assert recipe("fast", class_weight={3: 2}).class_weight == {"3": 2}
    data = mnist_slice[0].take(np.arange(100))
    trainer, _ = recipe("fast", class_weight={"3": 20}, label_smoothing=0).build(data, 0)
    assert trainer.loss.weight.tolist() == [1, 1, 1, 20, 1, 1, 1, 1, 1, 1]
    with pytest.raises(
        ValueError, match="class_weight must have classes of the data as keys, .*, got 'cat'"
    ):
        recipe("fast", class_weight={"cat": 2}).build(data, 0)
    with pytest.raises(ValueError, match="batch_size must be at least 2 with weights"):
        recipe("paper1998", class_weight={"3": 2}).build(data, 0)
    trainer, _ = recipe("fast", class_weight={"3": 20}, loss="mse").build(data, 0)
    assert (trainer.train_set.sample_weight == np.where(data.labels == 3, 20, 1)).all()


def test_images_of_weight_0_are_as_none(mnist_slice):
    data = mnist_slice[0].take(np.arange(100))
    counts = np.arange(100) % 3 > 0
    some = replace(data, sample_weight=counts.astype(np.float32))
    results = []
    for each in (some, data.take(np.flatnonzero(counts))):
        trainer, trained = recipe("fast").build(each, 0)
        trainer.run()
        results.append(trained.model.vector.tobytes())
    assert results[0] == results[1]


def test_a_batch_of_one_image_cannot_be_normalized():
    for batch_size in (1, 31):
        with pytest.raises(
            ValueError, match=f"batch_size must .*batch normalization.*got {batch_size};"
        ):
            built(model={"batch_norm": True}, batch_size=batch_size)
    built(model={"batch_norm": True}, batch_size=16)


def test_seeds_are_the_systems_they_reproduce():
    data = Dataset(np.zeros((3000, 1, 28, 28), np.uint8), np.arange(3000) % 10, 10)
    trainers, models = {}, {}
    for number, name in enumerate(("mean-image", "pynet", "conv3x3", "average-pool")):
        trainers[number], trained = recipe(name).build(data, seed=0)
        models[number] = trained.model
    assert [trainer.batch_size for trainer in trainers.values()] == [200, 128, 100, 64]
    assert [trainer.epochs for trainer in trainers.values()] == [20, 1000, 10, 10]
    assert [len(trainer.train_set) for trainer in trainers.values()] == [2000, 3000, 3000, 2400]
    assert [model.num_params for model in models.values()] == [61_706, 61_706, 106_154, 61_706]
    assert [model.input_shape[1] for model in models.values()] == [32, 32, 28, 28]
    assert [type(trainer.optimizer) for trainer in trainers.values()] == [Adam, SGD, Adam, Adam]
    assert [trainer.optimizer.eps for number, trainer in trainers.items() if number != 1] == [
        1e-7,
        1e-8,
        1e-8,
    ]
    for number, layer, std in ((0, "fc2", 0.001), (1, "fc2", 0.01), (2, "conv2", 0.01)):
        weights = models[number][layer].params["weight"]
        assert weights.std() == pytest.approx(
            std, rel=3 / np.sqrt(2 * weights.size)
        )  # three standard errors
    assert all(isinstance(models[number]["conv3"], Conv2d) for number in (1, 3))
    assert models[2]["conv1"].kernel_size == (3, 3)
    assert trainers[0].preparation.mean_image is not None
    assert recipe("mirrored", distortion=None).build(data, 0)[1].model.config[
        "without_activation"
    ] == ["conv2"]
    assert recipe("mirrored").distortion == {"flip": 0.5}


@pytest.mark.parametrize("name", [name for name in RECIPES if str(reported(name))])
def test_a_reported_system_learns(mnist_slice, name):
    """A few steps on a small set, from He's weights: small ones stand still for too long here."""
    model = {key: value for key, value in RECIPES[name].model.items() if key != "init"}
    batch_size = min(32, RECIPES[name].batch_size)
    chosen = recipe(
        name, epochs=3, batch_size=batch_size, distortion=None, validation=500, model=model
    )
    trainer, _ = chosen.build(mnist_slice[0], 0)
    trainer.run()
    assert trainer.history[-1]["validation_accuracy"] > 0.8


def test_options_of_the_net():
    _, trained = built(model={"batch_norm": True, "dropout": 0.5})
    kinds = {type(layer) for layer in trained.model.layers.values()}
    assert {BatchNorm2d, Dropout} <= kinds
    with pytest.raises(
        ValueError, match="model must only have options of the net lenet5, channels, .* got 'color'"
    ):
        built(model={"color": True})


def test_the_list_has_every_recipe(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["recipe", "summary", "reported", "reached"]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == list(RECIPES)
    (row,) = [i for i, line in enumerate(lines) if line.startswith("mean-image ")]
    assert "99.08 % test" in lines[row]
    assert RECIPES["mean-image"].reproduces in lines[row + 1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_whole(capsys, name):
    assert main(["recipes", name]) == 0
    text = capsys.readouterr().out
    shown = dict(
        line.split(maxsplit=1)
        for line in text.splitlines()
        if line.split(" ")[0] in Recipe.settings()
    )
    assert {key: json.loads(value) for key, value in shown.items()} == RECIPES[name].to_dict()
    assert text.startswith(f"{name}: {RECIPES[name].summary}\n")
    assert " ".join(RECIPES[name].notes.split()) in " ".join(text.split())


@pytest.mark.parametrize("module", [["lenet5c", "recipes"]])
def test_the_command(module):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", *module, *arguments], capture_output=True, text=True
        )

    assert (
        "average-pool" in run().stdout
        and '"conv"' in run("average-pool").stdout
        and "NAME" in run("--help").stdout
    )
    result = run("seed7")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert "seed7" in result.stderr and "mirrored" in result.stderr


def test_rates_of_the_paper_are_those_of_its_schedule():
    """A quarter of them, that is, which are also there as `Piecewise.paper1998`."""
    recipes_own, papers = make_schedule(RECIPES["paper1998"], 60_000), Piecewise.paper1998(60_000)
    assert recipes_own.boundaries == papers.boundaries
    assert recipes_own.rates == pytest.approx([rate / 4 for rate in papers.rates])


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": [0, 900], "kernel_size": [5, 1000]},
        {"padding": [0, 65536], "kernel_size": [1, 65537], "conv_init": {"normal": 0.1}},
        {"channels": [10**9] * 3, "kernel_size": 1},
        {"units": [1, 10**12, 10**12]},
    ],
)
def test_a_net_that_is_too_large_is_refused_before_it_takes_memory(settings):
    data = Dataset(np.zeros((20, 1, 28, 28), np.uint8), np.arange(20, dtype=np.int32) % 10, 10)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"at most {MAX_PARAMETERS:,} parameters"):
        trainer("default", data, model=settings)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_model_that_is_no_dict_beside_a_setting_of_the_net():
    with pytest.raises((ValueError, TypeError), match="model must be .*, got 1"):
        recipe("default", model=1, pooling="avg")
    assert recipe("default", model={"padding": 2}, pooling="max").model == {
        "padding": 2,
        "pooling": "max",
    }
    assert recipe("default", model={"padding": 2}, pooling="avg").model == {"padding": 2}
