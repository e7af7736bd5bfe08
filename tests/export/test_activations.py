"""Each activation in each export format has the values of lenet5c."""

import numpy as np
import pytest
from c_programs import needs_compiler, scores

from lenet5c import nn
from lenet5c.export import to_c, to_onnx, torch_source
from lenet5c.export.activations import ACTIVATIONS

OPTIONS = {
    "ScaledTanh": [{}, {"amplitude": 1.2, "slope": -0.7}],
    "LeakyReLU": [{}, {"negative_slope": 0.2}],
    "GELU": [{}, {"approximate": "tanh"}],
}
CASES = [
    pytest.param(
        name,
        options,
        id=f"{name}{options or ''}",
        marks=pytest.mark.skipif(not hasattr(nn, name), reason=f"nn has no {name}"),
    )
    for name in ACTIVATIONS
    for options in OPTIONS.get(name, [{}])
]
X = np.concatenate([np.linspace(-9, 9, 181), [-90, 90, 1e-6, -0.0]]).astype(np.float32)[:, None]


def build(name, options):
    return nn.Sequential({"act": getattr(nn, name)(**options)})


@pytest.mark.parametrize("name, options", CASES)
def test_onnx(name, options):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = build(name, options)
    content = to_onnx(model, input_shape=(1,))
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found, _) = session.run(None, {"input": X})
    np.testing.assert_allclose(found, model.forward(X), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name, options", CASES)
def test_torch(name, options):
    torch = pytest.importorskip("torch")
    model, scope = build(name, options), {"__file__": "model.py"}
    exec(torch_source(model, input_shape=(1,)), scope)  # our own text
    with torch.no_grad():
        found = scope["build"]()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, model.forward(X), rtol=1e-5, atol=2e-6)


@needs_compiler
@pytest.mark.parametrize("name, options", CASES)
def test_c(tmp_path, name, options):
    model = build(name, options)
    found, _ = scores(tmp_path, to_c(model, input_shape=(1,)), X)
    np.testing.assert_allclose(found, model.forward(X), rtol=1e-5, atol=2e-6)
