"""Conversion of weights to PyTorch and back, with names of both."""

import importlib.util
import json
import re
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from exported_models import (
    ODD_INPUT,
    WINDOWS_INPUT,
    images,
    model_of_windows,
    odd_model,
    shaken,
    variants,
)
from safetensors import safe_open
from safetensors.numpy import save_file

from lenet5c import nn
from lenet5c.export import (
    ExportError,
    import_torch,
    load_torch,
    to_torch,
    torch_source,
    torch_state,
)
from lenet5c.training import TrainedModel, open_model, save_model

VARIANTS = variants()


def state_of(model, rename=lambda name: name):
    return {rename(name): array for name, array in torch_state(model).items()}


def written(path, tensors):
    save_file({name: np.array(array, order="C") for name, array in tensors.items()}, path)
    return path


def assert_same_weights(model, other):
    for (name, array), expected in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(array, expected, name)


def assert_torch_computes(model, shape, folder):
    """Compare a bare model with its source in PyTorch; weights remain in the folder."""
    torch = pytest.importorskip("torch")
    (folder / "odd.safetensors").write_bytes(to_torch(model))
    (folder / "odd.py").write_text(
        torch_source(model, "odd.safetensors", input_shape=shape), encoding="ascii"
    )
    spec = importlib.util.spec_from_file_location("odd", folder / "odd.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = np.random.default_rng(0).standard_normal((5, *shape), np.float32)
    with torch.no_grad():
        found = module.load()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, model.forward(x), rtol=1e-4, atol=1e-5)


def imported(folder, trained, name="model"):
    """Import the module of the source, with its weights."""
    (folder / f"{name}.safetensors").write_bytes(to_torch(trained))
    (folder / f"{name}.py").write_text(
        torch_source(trained, f"{name}.safetensors"), encoding="ascii"
    )
    spec = importlib.util.spec_from_file_location(f"exported_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", VARIANTS)
def test_ours_to_torch(tmp_path, name):
    torch = pytest.importorskip("torch")
    trained = VARIANTS[name]
    module, x = imported(tmp_path, trained), images(trained, 7)
    arguments = [torch.tensor(trained.preparation.mean_image)] if name == "mean-image" else []
    with torch.no_grad():
        outputs = module.load()(module.prepare(torch.tensor(x), *arguments)).numpy()
    expected = trained.logits(x)
    found = -outputs if name.startswith("1998") else outputs
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    assert trained.class_names == module.CLASS_NAMES
    assert trained.temperature == module.TEMPERATURE


def test_the_temperature_goes_along_and_does_not_come_back(tmp_path):
    trained = replace(VARIANTS["relu-avg"], temperature=1.9)
    assert "TEMPERATURE = 1.9\n" in torch_source(trained)
    (tmp_path / "model.safetensors").write_bytes(to_torch(trained))
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "temperature": "1.9"}
    assert len({to_torch(trained) for _ in range(20)}) == 1
    assert import_torch(tmp_path / "model.safetensors", trained).temperature == 1


@pytest.mark.parametrize(
    "name", ["relu-avg", "tanh-max", "batch-norm-c5-conv", "1998", "padding-dropout"]
)
def test_torch_to_ours(tmp_path, name):
    """A net initialized and changed in PyTorch, saved with safetensors in its own order."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    trained = VARIANTS[name]
    module = imported(tmp_path, trained)
    torch.manual_seed(0)
    theirs = module.build()
    x = images(trained, 64)
    prepared = module.prepare(torch.tensor(x))
    theirs.train()(prepared)  # running statistics move
    if name == "1998":
        theirs.load_state_dict(
            {key: torch.tensor(array) for key, array in torch_state(trained.model).items()}
        )
    save_torch(
        {f"module.{key}": value for key, value in theirs.state_dict().items()},
        tmp_path / "theirs.safetensors",
    )
    ours = import_torch(tmp_path / "theirs.safetensors", trained)
    with torch.no_grad():
        expected = theirs.eval()(prepared).numpy()
    expected = -expected if name == "1998" else expected
    assert np.abs(ours.logits(x) - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    save_model(tmp_path / "ours.safetensors", ours)
    np.testing.assert_array_equal(
        open_model(tmp_path / "ours.safetensors").logits(x), ours.logits(x)
    )


@pytest.mark.parametrize(
    "make, shape",
    [
        (odd_model, ODD_INPUT),
        (lambda: model_of_windows(uneven=False), WINDOWS_INPUT),
        (lambda: model_of_windows(uneven=False, beyond=True), WINDOWS_INPUT),
        (lambda: model_of_windows(beyond=True), WINDOWS_INPUT),
    ],
    ids=["odd order", "windows", "windows beyond the padding", "uneven windows"],
)
def test_a_model_of_ones_own_layers(tmp_path, make, shape):
    model = make()
    assert_torch_computes(model, shape, tmp_path)
    other = make()
    other.vector[:] = 0
    load_torch(tmp_path / "odd.safetensors", other)
    assert_same_weights(other, model)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 3, padding=((1, 0), (0, 0))),
        nn.Conv2d(1, 1, 3, stride=2, padding="same"),
        nn.MaxPool2d(2, padding="same"),
        nn.AvgPool2d(3, padding=((1, 0), (0, 0))),
        nn.AvgPool2d(3, padding=2),
    ],
    ids=str,
)
def test_padding_that_torch_does_not_have(tmp_path, layer):
    assert_torch_computes(nn.Sequential(layer), (1, 8, 8), tmp_path)


SEQUENTIAL = dict(zip(("conv1", "conv2", "fc1", "fc2", "fc3"), (0, 3, 7, 9, 11), strict=True))
NAMINGS = {
    "ours": lambda layer: layer,
    "prefixed": lambda layer: f"module.net.{layer}",
    "numbers": lambda layer: str(SEQUENTIAL[layer]),
    "features-classifier": lambda layer: (
        f"{'features' if 'conv' in layer else 'classifier'}.{SEQUENTIAL[layer]}"
    ),
    "words": {"conv1": "c1", "conv2": "zz.c3", "fc1": "lin", "fc2": "dense", "fc3": "aa.out"}.get,
}


def renamed(naming):
    return lambda name: f"{naming(name.rpartition('.')[0])}.{name.rpartition('.')[2]}"


@pytest.mark.parametrize("naming", NAMINGS.values(), ids=NAMINGS)
def test_names_are_understood(tmp_path, naming):
    model, other = shaken(nn.LeNet5(rng=0)), nn.LeNet5(rng=5)
    path = written(tmp_path / "x.safetensors", state_of(model, renamed(naming)))
    assert load_torch(path, other) == {name: naming(name) for name in SEQUENTIAL}
    assert_same_weights(other, model)


def test_layers_of_equal_shape_by_the_numbers_in_their_names(tmp_path):
    def deep(seed):
        return nn.Sequential(
            [layer for i in range(12) for layer in (nn.Linear(3, 3, rng=seed + i), nn.ReLU())]
        )

    model, other = deep(0), deep(50)
    path = written(tmp_path / "x.safetensors", state_of(model, lambda name: f"body.{name}"))
    assert load_torch(path, other)["20"] == "body.20"
    assert_same_weights(other, model)
    words = {"0": "first", "2": "second"}
    pair, counterpart = (
        nn.Sequential(nn.Linear(3, 3, rng=seed), nn.ReLU(), nn.Linear(3, 3, rng=seed + 1))
        for seed in (1, 9)
    )
    path = written(tmp_path / "y.safetensors", state_of(pair, renamed(words.get)))
    with pytest.raises(ExportError, match="names that identify .*; pass names, such as 0="):
        load_torch(path, counterpart)
    load_torch(path, counterpart, {"0": "first"})
    assert_same_weights(counterpart, pair)
    load_torch(path, counterpart, {"0": "second", "2": "first"})
    np.testing.assert_array_equal(counterpart[0].params["weight"], pair[2].params["weight"])


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_floats(tmp_path, dtype):
    model, other = shaken(nn.LeNet5(batch_norm=True, rng=0)), nn.LeNet5(batch_norm=True, rng=5)
    tensors = {
        name: array.astype(dtype) if array.dtype == np.float32 else array
        for name, array in state_of(model).items()
    }
    load_torch(written(tmp_path / "x.safetensors", tensors), other)
    np.testing.assert_array_equal(
        other["fc1"].params["weight"], tensors["fc1.weight"].astype(np.float32)
    )


def test_bfloat16(tmp_path):
    """Written byte by byte: NumPy has no such dtype."""
    model = nn.Sequential(nn.Linear(3, 2, rng=0))
    header = {
        "0.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]},
    }
    values = np.array([1, -2, 0.5, 3, 0.15625, -65536], np.float32)
    content = json.dumps(header).encode()
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes() + np.array(
        [1, 2], "<f4"
    ).tobytes()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)
    load_torch(path, model)
    np.testing.assert_array_equal(model[0].params["weight"].ravel(), values)
    np.testing.assert_array_equal(model[0].params["bias"], [1, 2])


def test_what_may_be_missing(tmp_path):
    """A missing counter of batch normalization, and a missing bias, which is then 0."""
    model, other = (
        shaken(nn.LeNet5(batch_norm=True, rng=0)),
        shaken(nn.LeNet5(batch_norm=True, rng=5), 1),
    )
    model["conv1"].params["bias"][:] = 0
    tensors = {
        name: array
        for name, array in state_of(model).items()
        if not name.endswith("num_batches_tracked") and name != "conv1.bias"
    }
    load_torch(written(tmp_path / "x.safetensors", tensors), other)
    assert_same_weights(other, model)
    del tensors["norm1.running_var"]
    with pytest.raises(ExportError, match="norm1.running_var must exist for norm1, got none"):
        load_torch(written(tmp_path / "y.safetensors", tensors), other)


def refused(path, model, *words, **options):
    before = model.state_dict()
    with pytest.raises(ExportError) as caught:
        load_torch(path, model, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_what_does_not_fit(tmp_path):
    model = nn.LeNet5(rng=0)
    state = state_of(shaken(nn.LeNet5(rng=1)))
    path = tmp_path / "x.safetensors"
    refused(
        written(path, state_of(nn.LeNet5(num_classes=3))),
        model,
        "fc3.bias must have shape (10,)",
        "got (3,)",
    )
    refused(
        written(path, state_of(nn.LeNet5(num_classes=3), renamed(NAMINGS["numbers"]))),
        model,
        "layers with weight (10, 84), bias (10,)",
        "got 0 ()",
    )
    refused(
        written(path, state | {"extra.weight": np.ones((3, 3), np.float32)}),
        model,
        "extra.weight (3, 3)",
    )
    refused(written(path, state | {"fc2.mask": np.ones(3, np.float32)}), model, "fc2.mask")
    refused(
        written(path, state | {"fc2.bias": np.full(84, np.inf, np.float32)}),
        model,
        "fc2.bias",
        "finite",
    )
    refused(written(path, state | {"fc2.bias": np.full(84, 1e300)}), model, "fc2.bias", "finite")
    refused(
        written(path, state | {"fc2.bias": np.ones(84, np.int8)}),
        model,
        "fc2.bias must be F32",
        "got I8",
    )
    refused(written(path, {}), model, "got 0 ()", "nothing")
    refused(
        written(path, {"x": np.zeros(1 << 20, np.float32)}),
        model,
        "at most the 246,904 bytes",
        "another net",
    )
    refused(
        written(path, state),
        model,
        "names must refer to layers",
        "'conv9'",
        names={"conv9": "conv1"},
    )
    refused(
        written(path, state),
        model,
        "names must map conv1 to a layer",
        "'conv9'",
        names={"conv1": "conv9"},
    )
    refused(
        written(path, state),
        model,
        "to a different one, got 'fc2' twice",
        names={"fc1": "fc2", "fc2": "fc2"},
    )
    refused(written(path, state), model, "fc2.", "(84,", names={"fc1": "fc2"})
    dense = torch_state(nn.LeNet5_1998()) | {"c3.weight": np.ones((16, 6, 5, 5), np.float32)}
    refused(written(path, dense), nn.LeNet5_1998(), "connects no maps", "c3")


def test_what_is_no_safetensors_file(tmp_path):
    model, path = nn.LeNet5(rng=0), tmp_path / "x.pt"
    for content in (b"PK\x03\x04" + bytes(100), b"\x80\x02}q\x00."):
        path.write_bytes(content)
        refused(path, model, "got a pickle", "save_file", "weights_only=True", "x.safetensors")
    for content in (
        b"",
        b"abc",
        bytes(50),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 9) + b'{"a":{}}x',
    ):
        path.write_bytes(content)
        refused(path, model, "must be a safetensors file")
    with pytest.raises(FileNotFoundError):
        load_torch(tmp_path / "nothing", model)


def test_the_line_that_converts_a_pickle(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    model = nn.LeNet5(rng=3)
    state = {name: torch.tensor(array) for name, array in model.state_dict().items()}
    torch.save(state, tmp_path / "it's.pt")
    with pytest.raises(ExportError) as caught:
        load_torch(tmp_path / "it's.pt", model)
    (code,) = re.findall(r'python -c "(.*?)"', str(caught.value))
    monkeypatch.setattr(
        sys, "argv", ["-c", str(tmp_path / "it's.pt"), str(tmp_path / "out.safetensors")]
    )
    exec(code, {})  # a line of our own
    other = nn.LeNet5(rng=4)
    load_torch(tmp_path / "out.safetensors", other)
    assert_same_weights(other, model)


def test_hostile_names_stay_text():
    trained = VARIANTS["relu-avg"]
    names = ('"""', "'", "\\", "\n", "é", "\ud800", "a" * 300, "{}", "%s", "\x00")
    text = torch_source(
        TrainedModel(trained.model, trained.preparation, names, (1, 28, 28)), 'x".safetensors\\'
    )
    scope = {}
    code = text[text.index("CLASS_NAMES") : text.index("\ndef build")]
    exec(compile(code, "text", "exec"), scope)  # our own text: names of constants alone
    assert scope["CLASS_NAMES"] == names
    compile(text, "text", "exec")
