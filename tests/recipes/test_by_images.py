"""Choice of recipe and input size by the images."""

import numpy as np
import pytest
from drawn_shapes import SHAPES, draw, draw_folder

import lenet5c
from lenet5c import nn
from lenet5c.datasets import Dataset, Source, image_folder
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, recipe, train
from lenet5c.recipes.by_images import choose_size
from lenet5c.recipes.option_words import distortion_name


def shapes(count, size=(64, 48), seed=0):
    rng = np.random.default_rng(seed)
    images = [draw(SHAPES[i % 5], rng, size).transpose(2, 0, 1) for i in range(count)]
    labels = np.arange(count, dtype=np.int32) % 5
    return Dataset(np.array(images), labels, 5, class_names=SHAPES)


@pytest.mark.parametrize(
    "size, asked, expected",
    [
        ((48, 64), "images", ((48, 64), "pad")),
        ((96, 33), "images", ((96, 33), "pad")),
        ((28, 28), "images", ((32, 32), "pad")),
        ((20, 90), "images", ((32, 90), "pad")),
        ((12, 90), "images", ((16, 90), "pad")),
        ((8, 8), "images", ((32, 32), "resize")),
        ((19, 10), "images", ((32, 17), "resize")),
        ((300, 200), "images", ((96, 64), "resize")),
        ((97, 97), "images", ((96, 96), "resize")),
        ((10, 500), "images", ((16, 96), "resize")),
        ((28, 28), 32, ((32, 32), "pad")),
        ((32, 19), 32, ((32, 32), "resize")),
        ((48, 64), 32, ((32, 32), "resize")),
        ((48, 64), [48, 80], ((48, 80), "pad")),
    ],
)
def test_the_size_of_the_input(size, asked, expected):
    assert choose_size(asked, size) == expected


@pytest.mark.parametrize(
    "shape, name",
    [
        ((1, 28, 28), "default"),
        ((1, 48, 20), "default"),
        ((1, 49, 20), "small-color"),
        ((3, 20, 20), "small-color"),
        ((2, 8, 8), "small-color"),
    ],
)
def test_the_recipe_follows_from_the_images(shape, name):
    data = Dataset(np.zeros((10, *shape), np.uint8), np.arange(10, dtype=np.int32) % 2, 2)
    lines = []
    config = RunConfig.named(epochs=3, seed=5).choose_recipe(data, lines.append)
    assert (config.recipe, config.settings) == (name, recipe(name, epochs=3))
    assert config.seed == 5 and len(lines) == (name != "default")
    for given in ({"name": "default"}, {"net": "lenet5"}, {"preparation": "resized"}):
        assert RunConfig.named(**given).choose_recipe(data).recipe == "default"
    trainer = lenet5c.trainer(data=data, epochs=1, epoch_images=0, validation=0)
    assert isinstance(trainer.model, nn.SmallColor if name == "small-color" else nn.LeNet5)
    assert type(trainer.model).__name__ == ("SmallColor" if name == "small-color" else "LeNet5")


def test_an_option_that_the_net_does_not_have_names_the_remedy():
    with pytest.raises(
        RunError, match=r"model must only have .* got 'c5'; or use --recipe default"
    ):
        RunConfig.named(c5="conv").choose_recipe(shapes(10))


def test_a_run_of_color_images_from_a_folder_and_on(tmp_path):
    draw_folder(tmp_path / "shapes", 12)
    lines = []
    config = RunConfig.named(
        data=tmp_path / "shapes",
        epochs=1,
        epoch_images=0,
        channels=(8, 16),
        folder=tmp_path / "run",
    )
    run = train(config, on_message=lines.append)
    assert any("using the recipe small-color; with --recipe default" in line for line in lines)
    assert run.trained.model.input_shape == (3, 48, 64) and run.trained.preparation.fit == "pad"
    assert run.config.recipe == "small-color" and "--recipe small-color" in run.config.command()
    stored = RunConfig.read(run.folder)
    assert stored.settings == run.config.settings and stored.asked is None
    assert stored.get("channels") == [8, 16] and stored.get("batch_norm") is True
    assert train(stored, resume=True).summary == run.summary
    source = image_folder(tmp_path / "shapes")
    again = lenet5c.trainer(data=source, start=run.trained, epochs=1, epoch_images=0)
    assert type(again.model) is nn.SmallColor
    larger = shapes(20, (96, 72))
    fitted = lenet5c.trainer(data=Source(larger, larger), start=run.trained, epochs=1)
    assert fitted.train_set.images.shape[1:] == (3, 48, 64)


def test_the_augmentation_leaves_some_images_as_they_are():
    """So that classes that differ only in color can be distinguished."""
    distortion = recipe("small-color").distortion
    assert distortion_name(distortion) == distortion and 0 < distortion["probability"] < 1
