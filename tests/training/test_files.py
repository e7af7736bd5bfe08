"""Model files and checkpoints: equal content has equal bytes, and all content is checked."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from failing_files import FailingClose
from own_files import change_tensors
from safetensors.numpy import save

from lenet5c import _files
from lenet5c.__main__ import main
from lenet5c.datasets import Preparation, Source
from lenet5c.nn import LeNet5, LeNet5_1998, register
from lenet5c.nn.registry import TYPES
from lenet5c.recipes import RunConfig, train
from lenet5c.training import RunError, TrainedModel, open_model, save_model


def trained(kind=LeNet5, **config):
    model = kind(rng=5, **config)
    (classes,) = model.output_shape(model.input_shape)
    names = tuple(f"class {i}" for i in range(classes))
    return TrainedModel(model, Preparation(model.input_shape[1:], mean=0.1, std=0.3), names)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "num_classes": 3,
            "in_channels": 2,
            "input_size": (28, 20),
            "padding": (2, 0),
            "activation": "tanh",
            "pooling": "avg",
        },
        {"kernel_size": 3, "padding": 1, "c5": "conv", "without_activation": ["conv2", "conv3"]},
        {"batch_norm": True, "dropout": 0.5},
        {"kind": LeNet5_1998},
        {
            "kind": LeNet5_1998,
            "num_classes": 3,
            "in_channels": 2,
            "input_size": (28, 20),
            "init": "lush",
        },
    ],
)
def test_round_trip(tmp_path, config):
    path = tmp_path / "model.safetensors"
    original = trained(**config)
    save_model(path, original)
    loaded = open_model(path)
    images = np.random.default_rng(0).integers(0, 256, (5, *original.model.input_shape), np.uint8)
    assert (loaded.logits(images) == original.logits(images)).all()
    assert loaded.class_names == original.class_names
    assert loaded.preparation.to_dict() == original.preparation.to_dict()
    assert loaded.model.settings() == original.model.settings()
    np.testing.assert_allclose(loaded.probabilities(images).sum(axis=1), 1, rtol=1e-6)


def test_a_net_is_registered_in_one_place(tmp_path):
    @register
    class Mine(LeNet5):
        pass

    try:
        save_model(tmp_path / "mine.safetensors", trained(Mine))
        assert type(open_model(tmp_path / "mine.safetensors").model) is Mine
    finally:
        del TYPES["Mine"]


def test_codes_travel_along(tmp_path):
    original = trained(LeNet5_1998)
    codes = np.random.default_rng(1).standard_normal((10, 84)).astype(np.float32)
    original.model["output"].buffers["codes"] = codes
    save_model(tmp_path / "m", original)
    loaded = open_model(tmp_path / "m")
    assert (loaded.model["output"].buffers["codes"] == codes).all()
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), np.uint8)
    assert (loaded.logits(images) == original.logits(images)).all()
    assert (loaded.logits(images) < 0).all()  # penalties, negated
    assert (
        loaded.probabilities(images).argmax(axis=1)
        == original.model.predict(
            (images * np.float32(loaded.preparation.scale) + loaded.preparation.offset(1)).astype(
                np.float32
            )
        )
    ).all()


def test_mean_image_travels_along(tmp_path):
    model = trained()
    model.preparation = Preparation(
        size=(32, 32), std=0.3, mean_image=np.full((1, 32, 32), 7, np.float32)
    )
    save_model(tmp_path / "m", model)
    assert (open_model(tmp_path / "m").preparation.mean_image == 7).all()


def test_equal_models_are_equal_files(tmp_path):
    save_model(tmp_path / "a", trained())
    save_model(tmp_path / "b", trained())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def rewritten(tmp_path, change, tensors=None, kind=LeNet5):
    """Return a model file whose metadata `change` has tampered with."""
    path = tmp_path / "model.safetensors"
    save_model(path, trained(kind))
    change_tensors(path, change, tensors or {})
    return path


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, trained())
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        RunError, match="model.safetensors must match its stored digest.*the file is damaged"
    ):
        open_model(path)


def test_the_tampering_itself_leaves_a_good_file(tmp_path):
    open_model(rewritten(tmp_path, lambda metadata: metadata))


def put(**values):
    return lambda metadata: metadata | values


def net(kind="LeNet5", **settings):
    """Replace the description of the model's net."""
    return put(model={"type": kind, "settings": settings})


@pytest.mark.parametrize(
    "change",
    [
        put(format="lenet5c checkpoint 2"),
        put(format="lenet5c model 2"),
        put(model="AlexNet"),
        put(model=["LeNet5"]),
        net(num_classes=10**12),
        net(num_classes=10, input_size=[40000, 40000]),
        net(num_classes="10"),
        net(**{"no such": 1}),
        put(model={"type": "LeNet5", "settings": None}),
        put(model=None),
        put(preparation={"size": [32, 32]}),
        put(
            preparation={
                "size": [10**9, 10**9],
                "fit": "pad",
                "mean": 0,
                "std": 1,
                "mean_image": False,
            }
        ),
        put(class_names=["one"]),
        put(class_names=list(range(10))),
        put(class_names=None),
        lambda metadata: {},
        lambda metadata: [metadata],
        lambda metadata: None,
        lambda metadata: {key: value for key, value in metadata.items() if key != "model"},
    ],
)
def test_tampered_metadata_is_a_clear_error(tmp_path, change):
    path = rewritten(tmp_path, change)
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


@pytest.mark.parametrize(
    "change",
    [
        net("LeNet5"),
        net("LeNet5_1999"),
        net("LeNet5_1998", num_classes=10**12),
        net("LeNet5_1998", num_classes=-10),
        net("LeNet5_1998", num_classes=10.0),
        net("LeNet5_1998", num_classes="10"),
        net("LeNet5_1998", num_classes=[10]),
        net("LeNet5_1998", num_classes=11),
        net("LeNet5_1998", in_channels=0),
        net("LeNet5_1998", in_channels=1.0),
        net("LeNet5_1998", input_size=[40000, 40000]),
        net("LeNet5_1998", input_size=[32, 32, 32]),
        net("LeNet5_1998", input_size=1e9),
        net("LeNet5_1998", init="he_normal"),
        net("LeNet5_1998", init=["fitted"]),
        net("LeNet5_1998", init=None),
        net("LeNet5_1998", rng=3),
        net("LeNet5_1998", padding=2),
        put(model={"type": "LeNet5_1998", "settings": []}),
        put(class_names=["one"]),
    ],
)
def test_tampered_metadata_of_1998_is_a_clear_error(tmp_path, change):
    path = rewritten(tmp_path, change, kind=LeNet5_1998)
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"output.codes": np.zeros((84, 10), np.float32)},
        {"output.codes": np.zeros((10, 84), np.float64)},
        {"c3.weight": np.zeros((16, 6, 5, 5), np.float32)},
        {"codes": np.zeros(3, np.float32)},
    ],
)
def test_tensors_of_1998_that_do_not_fit_are_a_clear_error(tmp_path, tensors):
    path = rewritten(tmp_path, lambda metadata: metadata, tensors, kind=LeNet5_1998)
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"extra": np.zeros(3, np.float32)},
        {"fc3.bias": np.zeros(11, np.float32)},
        {"fc3.bias": np.zeros(10, np.float64)},
        {"conv1.bias": np.zeros((6, 1), np.float32)},
    ],
)
def test_tensors_that_do_not_fit_are_a_clear_error(tmp_path, tensors):
    path = rewritten(tmp_path, lambda metadata: metadata, tensors)
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


def preparation(**changes):
    usual = {"size": [32, 32], "fit": "pad", "mean": 0.1, "std": 0.3, "mean_image": False}
    return put(preparation=usual | changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (preparation(size=[1, 32]), r"preparation must give images of \(32, 32\), got \(1, 32\)"),
        (preparation(size=[1024, 1024]), r"images of \(32, 32\), got \(1024, 1024\)"),
        (preparation(size=[28, 28]), "preparation must give images"),
        (
            put(image_shape=[1, 33, 32]),
            r"image_shape must be \(1, height, width\), at most 32 by 32",
        ),
        (put(image_shape=[1, 1024, 1024]), "image_shape must be"),
        (put(image_shape=[3, 28, 28]), "image_shape must be"),
        (put(image_shape=[1, 0, 28]), "image_shape must be"),
        (put(image_shape=[1, 28.0, 28]), "image_shape must be"),
        (put(image_shape=[True, 28, 28]), "image_shape must be"),
        (put(image_shape=[1, 28]), "image_shape must be"),
        (put(image_shape="abc"), "image_shape must be"),
        (put(image_shape=None), "consistent"),
        (put(class_names=["same"] * 10), "class names must be unique"),
        (
            put(class_names=[*"012345678", ""]),
            "class names must have 1 to 255 printable characters",
        ),
        (
            put(class_names=[*"012345678", " "]),
            "class names must have 1 to 255 printable characters",
        ),
        (
            put(class_names=[*"012345678", "n" * 256]),
            "class names must have 1 to 255 printable characters",
        ),
        (
            put(class_names=[*"012345678", "a\nb"]),
            "class names must have 1 to 255 printable characters",
        ),
        (
            put(class_names=[*"012345678", "\x1b[2J"]),
            "class names must have 1 to 255 printable characters",
        ),
        (
            put(class_names=[*"012345678", "\ud800"]),
            "class names must have 1 to 255 printable characters",
        ),
        (put(class_names="0123456789a"), "10 strings"),
        (put(reading="upside down"), "reading must be one of"),
        (put(reading=[]), "reading must be one of"),
    ],
)
def test_parts_that_do_not_fit_together_are_a_clear_error(tmp_path, change, words):
    path = rewritten(tmp_path, change)
    with pytest.raises(RunError, match=words):
        open_model(path)


def test_large_images_are_for_a_preparation_that_resizes(tmp_path):
    def change(metadata):
        return put(image_shape=[1, 1024, 1024])(preparation(fit="resize")(metadata))

    assert open_model(rewritten(tmp_path, change)).image_shape == (1, 1024, 1024)
    too_large = preparation(fit="resize")
    path = rewritten(tmp_path, lambda old: put(image_shape=[1, 1025, 28])(too_large(old)))
    with pytest.raises(RunError, match="at most 1024 by 1024"):
        open_model(path)


@pytest.mark.parametrize("command", ["predict", "evaluate", "demo", "summary", "export"])
@pytest.mark.parametrize("size", [[1, 32], [1024, 1024]])
def test_commands_refuse_them_in_one_line(tmp_path, capsys, command, size):
    """They caused a traceback, or needed 9.8 GB."""
    path = rewritten(tmp_path, preparation(size=size))
    (tmp_path / "picture.png").write_bytes(b"")
    arguments = {
        "predict": ["--model", path, tmp_path / "picture.png"],
        "evaluate": [path],
        "demo": ["--model", path, "--no-browser"],
        "summary": [path],
        "export": [path, "--to", "c", "--out", tmp_path / "x.c"],
    }
    assert main([command, *map(str, arguments[command])]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert "must be a consistent model file: its preparation" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ("same",) * 10},
        {"class_names": ("one",)},
        {"image_shape": (1, 33, 32)},
        {"preparation": Preparation((28, 28))},
        {"reading": "backwards"},
    ],
)
def test_what_would_not_be_opened_again_is_not_saved(tmp_path, changes):
    model = replace(trained(), **changes)
    with pytest.raises(ValueError, match="its .* must"):
        save_model(tmp_path / "model", model)
    assert list(tmp_path.iterdir()) == []


def test_names_that_could_not_be_saved_are_refused_before_the_training(tmp_path, mnist_slice):
    names = ("two\nlines", *"123456789")
    data = replace(mnist_slice[0], class_names=names)
    with pytest.raises(RunError, match=r"class names must have .*'two\\nlines'"):
        train(RunConfig.named("fast", epochs=1, folder=tmp_path / "run"), Source(data, data))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 2000, -1])
def test_cut_files_are_a_clear_error(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    save_model(path, trained())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


@pytest.mark.parametrize(
    "content", [b"\xff" * 64, b"\xff" * 8 + b"{}", b"PK\x03\x04" + b"x" * 100, b"{" * 5000]
)
def test_foreign_files_are_a_clear_error(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


def test_deeply_nested_metadata_is_a_clear_error(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.zeros(1, np.float32)}, {"lenet5c": "[" * 100_000}))
    with pytest.raises(RunError, match="model.safetensors"):
        open_model(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(RunError, match="which does not exist"):
        open_model(tmp_path / "nothing")
    with pytest.raises(RunError):
        open_model(tmp_path)


def test_digest(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\x01\x02" * 2_000_000)
    expected = hashlib.sha256(b"first" + path.read_bytes() + b"\x01\x00\x03\x00").hexdigest()
    array = np.array([[1, 2], [3, 4]], np.int16)[:, 0]
    assert _files.digest("first", path, array) == expected
    assert _files.digest(b"", np.zeros((0, 3))) == hashlib.sha256().hexdigest()


def test_an_error_of_writing_names_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "nowhere" / "file.json"
    with pytest.raises(FileNotFoundError) as caught:
        _files.write_json(path, {})
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("read", [lambda path: _files.read_bytes(path, 99), _files.digest])
def test_an_error_at_the_end_of_a_read_has_the_name(tmp_path, monkeypatch, read):
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(_files, "open_regular", FailingClose)
    with pytest.raises(OSError) as raised:
        read(tmp_path / "file")
    assert raised.value.filename == str(tmp_path / "file")


def test_levels_of_black_and_white_are_kept(tmp_path):
    path = tmp_path / "model.safetensors"
    levels = {"int": 4095.0, "float": 2.8, "black": -0.4}
    save_model(path, replace(trained(), white=levels))
    assert open_model(path).white == levels
    for wrong in ({"float": 0}, {"float": -2.0, "black": -1}, {"black": np.inf}, {"white": 2}):
        with pytest.raises(ValueError, match="its white must have numbers greater than black"):
            save_model(path, replace(trained(), white=wrong))
