"""Every layer of the package in each export format has the values of lenet5c."""

import copy
import importlib.util

import numpy as np
import pytest
from c_programs import assert_equal, assert_near, needs_compiler, scores
from every_layer import LAYERS
from exported_models import shaken

from lenet5c import nn
from lenet5c.export import quantize_int8, to_c, to_onnx, to_torch, torch_source

CASES = [
    pytest.param(layer, shape, id=f"{name}-{i}")
    for name, cases in LAYERS.items()
    for i, (layer, shape) in enumerate(cases)
]


#: Of int8, which has no ensembles.
SMALL = [case for case in CASES if not case.id.startswith("Ensemble")]


def model_of(layer, shape):
    """Return a net with the layer between others, so that outputs can be compared."""
    layer = copy.deepcopy(layer)
    features = int(np.prod(layer.output_shape(shape)))
    return shaken(
        nn.Sequential(
            {
                "before": nn.Tanh(),
                "layer": layer,
                "after": nn.LeakyReLU(0.5),
                "flat": nn.Flatten(),
                "out": nn.Linear(features, 3, rng=0),
            },
            input_shape=shape,
        )
    )


def samples(shape):
    return np.random.default_rng(1).standard_normal((5, *shape)).astype(np.float32)


def close(found, expected):
    return np.abs(found - expected).max() <= 2e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("layer", "shape"), CASES)
def test_onnx(layer, shape):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, x = model_of(layer, shape), samples(shape)
    session = runtime.InferenceSession(to_onnx(model), providers=["CPUExecutionProvider"])
    logits, _ = session.run(None, {"input": x})
    assert close(logits, model.forward(x))


@needs_compiler
@pytest.mark.parametrize(("layer", "shape"), CASES)
def test_c(layer, shape, tmp_path):
    model, x = model_of(layer, shape), samples(shape)
    found, _ = scores(tmp_path, to_c(model), x)
    assert close(found, model.forward(x))


@needs_compiler
@pytest.mark.parametrize(("layer", "shape"), SMALL)
def test_int8(layer, shape, tmp_path):
    model, x = model_of(layer, shape), samples(shape)
    small = quantize_int8(model, x)
    assert_near(small, x, model.forward(x), 0.1)
    assert_equal(tmp_path, small, x)


@pytest.mark.parametrize(("layer", "shape"), CASES)
def test_torch(layer, shape, tmp_path):
    torch = pytest.importorskip("torch")
    model, x = model_of(layer, shape), samples(shape)
    (tmp_path / "net.safetensors").write_bytes(to_torch(model))
    (tmp_path / "net.py").write_text(torch_source(model, "net.safetensors"), encoding="ascii")
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        found = module.load()(torch.tensor(x)).numpy()
    assert close(found, model.forward(x))
