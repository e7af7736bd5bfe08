"""Custom nets: saved, opened, resumed, evaluated and displayed like a LeNet."""

import json

import numpy as np
import pytest
from own_files import change_tensors

from lenet5c import nn, optim
from lenet5c.__main__ import main
from lenet5c.datasets import Preparation
from lenet5c.nn.registry import TYPES
from lenet5c.training import RunError, TrainedModel, Trainer, open_model, save_model


def custom_net(rng=0):
    """Return a net with a Sequential within it, with running statistics and without a bias."""
    return nn.Sequential(
        {
            "conv": nn.Conv2d(1, 8, 5, stride=2, bias=False, rng=rng),
            "block": nn.Sequential(
                nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, groups=2, padding="same", rng=1)
            ),
            "pool": nn.MaxPool2d(3, 2, ceil_mode=True),
            "drop": nn.Dropout(0.25, rng=2),
            "flat": nn.Flatten(),
            "out": nn.Linear(8 * 36, 10, rng=3),
        }
    )


def trained_net(**changes):
    parts = {
        "model": custom_net(),
        "preparation": Preparation((28, 28), mean=0.13, std=0.31),
        "class_names": tuple("0123456789"),
        "image_shape": (1, 28, 28),
    }
    return TrainedModel(**parts | changes)


def test_it_is_saved_and_opened(tmp_path):
    path, trained = tmp_path / "net.safetensors", trained_net()
    trained.model["block"]["0"].buffers["running_mean"] += 0.5
    save_model(path, trained)
    opened = open_model(path)
    assert repr(opened.model) == repr(trained.model)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    assert (opened.logits(images) == trained.logits(images)).all()
    assert opened.input_shape == (1, 28, 28)
    before = path.read_bytes()
    save_model(path, opened)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [(28, 28), (40, 24)])
def test_the_input_shape_says_to_which_size_images_are_brought(tmp_path, size):
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3, rng=0),
        nn.Flatten(),
        nn.Linear(2 * (size[0] - 2) * (size[1] - 2), 2, rng=1),
        input_shape=(3, *size),
    )
    trained = TrainedModel(model, Preparation(size, fit="resize"), ("a", "b"))
    assert trained.image_shape == (3, 28, 28)
    save_model(tmp_path / "net", trained)
    assert open_model(tmp_path / "net").model.input_shape == (3, *size)
    with pytest.raises(ValueError, match="its preparation must give images of"):
        save_model(tmp_path / "net", TrainedModel(model, Preparation((32, 32)), ("a", "b")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ("a", "b")}, "class names must be 10 strings, one for each output, got 2"),
        ({"image_shape": (3, 28, 28)}, r"its net must accept samples of shape \(3, 28, 28\)"),
        ({"preparation": Preparation((20, 20)), "image_shape": (1, 20, 20)}, "its net must accept"),
        (
            {"model": nn.Sequential(nn.Conv2d(1, 10, 28, rng=0))},
            r"class scores, got shape \(10, 1, 1\); end it with Flatten and Linear",
        ),
    ],
)
def test_what_does_not_go_together_is_not_saved(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        save_model(tmp_path / "net", trained_net(**changes))
    assert not list(tmp_path.iterdir())


class Scale(nn.Layer):
    def __init__(self, channels, start=1.0):
        self.params["factor"] = np.full((channels, 1, 1), start)
        self.channels = channels

    def settings(self):
        return {"channels": self.channels}

    def forward(self, x, training=False):
        self.x = x if training else None
        return x * self.params["factor"]

    def backward(self, dy):
        self.grads["factor"] = (dy * self.x).sum((0, 2, 3)).reshape(-1, 1, 1)
        return dy * self.params["factor"]


def with_own_layer(layer):
    return trained_net(
        model=nn.Sequential({"own": layer, "flat": nn.Flatten(), "out": nn.Linear(784, 10, rng=0)})
    )


@pytest.fixture
def registered():
    nn.register(Scale)
    yield
    del TYPES["Scale"]


def test_a_layer_of_ones_own_is_saved_once_it_is_registered(tmp_path):
    trained, path = with_own_layer(Scale(1, 0.5)), tmp_path / "net"
    with pytest.raises(ValueError, match=r"layer 'own' must be of a registered class, got Scale"):
        save_model(path, trained)
    nn.register(Scale)
    try:
        save_model(path, trained)
        assert open_model(path).model["own"].params["factor"] == 0.5
    finally:
        del TYPES["Scale"]
    with pytest.raises(RunError, match="must be one of .*got 'Scale'; a custom class must be imp"):
        open_model(path)


def test_settings_that_do_not_make_the_layer_again_are_not_saved(tmp_path, registered, monkeypatch):
    monkeypatch.setattr(Scale, "settings", lambda self: {"channels": 2})
    with pytest.raises(ValueError, match=r"settings must reproduce the layer, got own\.factor of"):
        save_model(tmp_path / "net", with_own_layer(Scale(1)))
    monkeypatch.setattr(Scale, "settings", lambda self: {})
    with pytest.raises(ValueError, match="layer 'own', Scale: missing 1 required"):
        save_model(tmp_path / "net", with_own_layer(Scale(1)))


def make_trainer(train_set, validation_set, model=None):
    model = custom_net() if model is None else model
    return Trainer(
        model,
        optim.Adam(model, 1e-3),
        optim.Constant(1e-3),
        nn.CrossEntropyLoss(),
        Preparation((28, 28), mean=0.13, std=0.31),
        train_set,
        validation_set,
        batch_size=32,
        epochs=2,
        seed=3,
    )


def test_it_is_resumed_to_the_same_bytes(tmp_path, mnist_slice):
    train_set, test_set = mnist_slice
    whole = make_trainer(train_set, test_set)
    whole.run()
    first = make_trainer(train_set, test_set)
    first.stretch_seconds = 0
    first.run(stop=lambda: first.steps_taken >= first.steps_per_epoch + 3)
    first.save(tmp_path / "checkpoint")
    second = make_trainer(train_set, test_set, custom_net(rng=7))
    second.load(tmp_path / "checkpoint")
    second.run()
    assert second.history == whole.history
    for name, array in whole.model.state_dict().items():
        assert (second.model.state_dict()[name] == array).all()


def test_a_checkpoint_is_of_the_very_net(tmp_path, mnist_slice):
    """Layers of the same names and classes are not enough."""
    trainer = make_trainer(*mnist_slice)
    trainer.save(tmp_path / "checkpoint")
    other = custom_net()
    other.layers["pool"].ceil_mode = False
    with pytest.raises(RunError, match="must come from a training with model"):
        make_trainer(*mnist_slice, other).load(tmp_path / "checkpoint")


def test_commands_take_it(tmp_path, capsys, mnist_slice):
    path = str(tmp_path / "net.safetensors")
    save_model(path, trained_net())
    assert main(["summary", path]) == 0
    text = capsys.readouterr().out
    assert text.startswith(custom_net().summary((1, 28, 28)))
    assert "block.2" in text and "Sequential(layers=6" in text
    assert main(["summary", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["net"] == nn.describe(custom_net())
    assert found["total"]["parameters"] == custom_net().num_params
    assert main(["evaluate", path]) in (0, 1)
    assert "10,000" in capsys.readouterr().out


def tampered(tmp_path, change, tensors=None):
    path = tmp_path / "net.safetensors"
    save_model(path, trained_net())
    change_tensors(
        path, lambda metadata: metadata | {"model": change(metadata["model"])}, tensors or {}
    )
    return path


def layer_of(model, name, **settings):
    layers = [
        each | {"settings": each["settings"] | settings} if each["name"] == name else each
        for each in model["settings"]["layers"]
    ]
    return model | {"settings": {"layers": layers}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: None, "must be a mapping"),
        (lambda model: {"type": "ReLU"}, "net must be a Sequential, got ReLU"),
        (lambda model: {"type": "LeNet5"}, "weight must have at most 847 values"),
        (lambda model: layer_of(model, "out", out_features=10**12), "elements, more than"),
        (lambda model: layer_of(model, "out", out_features=10**9), "weight must have at most"),
        (lambda model: layer_of(model, "out", out_features=11), "weight must have at most"),
        (lambda model: layer_of(model, "out", out_features=9), r"out\.weight must have shape"),
        (lambda model: layer_of(model, "out", bias=False), "unknown: out.bias"),
        (lambda model: layer_of(model, "conv", stride=1), "its net must accept samples of shape"),
        (lambda model: layer_of(model, "conv", padding=10**9), "padded input of shape"),
        (
            lambda model: layer_of(model, "conv", padding=50_000),
            "at most 134,217,728 values of layer 'conv'",
        ),
        (
            lambda model: layer_of(model, "pool", kernel_size=3000, padding=2999),
            "at most 274,877,906,944 connections and values",
        ),
        (
            lambda model: model | {"settings": model["settings"] | {"input_shape": [1, 30, 30]}},
            r"its preparation must give images of \(30, 30\)",
        ),
        (
            lambda model: model | {"code": "import os"},
            "must only have the keys name, type, settings",
        ),
    ],
)
def test_a_tampered_net_is_an_error_of_one_line(tmp_path, capsys, change, words):
    path = tampered(tmp_path, change)
    with pytest.raises(RunError, match=words):
        open_model(path)
    assert main(["summary", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_name_twice_in_the_file_is_an_error(tmp_path):
    def change(model):
        first, second, *rest = model["settings"]["layers"]
        return model | {"settings": {"layers": [first, second | {"name": first["name"]}, *rest]}}

    with pytest.raises(RunError, match="names must be unique"):
        open_model(tampered(tmp_path, change))
