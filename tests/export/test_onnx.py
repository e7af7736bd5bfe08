"""ONNX files have the results of the models in ONNX Runtime."""

import json
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

import lenet5c
from lenet5c import nn
from lenet5c.datasets import mnist
from lenet5c.export import ExportError, to_onnx
from lenet5c.training import TrainedModel, open_model

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
VARIANTS = variants()


def session(content):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def relative(actual, expected):
    return np.abs(actual - expected).max() / max(1, np.abs(expected).max())


def test_shipped_model_on_test_images():
    trained, (_, test) = open_model(), mnist()
    run = session(to_onnx(trained))
    for count in (1, 7, 1000):
        logits, probabilities = run.run(["logits", "probabilities"], {"image": test.images[:count]})
        assert np.abs(logits - trained.logits(test.images[:count])).max() < 1e-5
        assert np.abs(probabilities - trained.probabilities(test.images[:count])).max() < 1e-5
    assert (logits.argmax(axis=1) == test.labels[:1000]).mean() > 0.99


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_at_the_temperature(temperature):
    trained = replace(open_model(), temperature=temperature)
    content, x = to_onnx(trained), mnist()[1].images[:20]
    logits, probabilities = session(content).run(None, {"image": x})
    assert np.abs(logits - trained.logits(x)).max() < 1e-5
    assert np.abs(probabilities - trained.probabilities(x)).max() < 1e-5
    model = onnx.load_from_string(content)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["temperature"]) == temperature
    assert ("Div" in {node.op_type for node in model.graph.node}) == (temperature != 1)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_from_raw_images(name):
    trained = VARIANTS[name]
    run = session(to_onnx(trained))
    for count in (1, 7):
        x = images(trained, count)
        logits, probabilities = run.run(None, {"image": x})
        assert relative(logits, trained.logits(x)) < 1e-5
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert (logits.argmax(axis=1) == trained.logits(x).argmax(axis=1)).all()


@pytest.mark.parametrize("name", ["relu-avg", "1998", "batch-norm", "mean-image", "shrunk"])
def test_prepared_inputs(name):
    trained = VARIANTS[name]
    x = trained.preparation(images(trained, 7))
    logits, _ = session(to_onnx(trained, input="float")).run(None, {"input": x})
    assert relative(logits, trained.model.logits(trained.model.forward(x))) < 1e-5


def test_resizing_is_the_same_to_the_bit():
    trained = VARIANTS["shrunk"]
    content = onnx.load_from_string(to_onnx(trained))
    # What comes after the Floor and the Cast: gray levels.
    (fitted,) = [
        node.output[0] for i, node in enumerate(content.graph.node) if node.op_type == "Cast"
    ][1:]
    content.graph.output.append(
        onnx.helper.make_tensor_value_info(fitted, onnx.TensorProto.FLOAT, None)
    )
    x = images(trained, 7)
    (gray,) = session(content.SerializeToString()).run([fitted], {"image": x})
    np.testing.assert_array_equal(gray, trained.preparation.fit_images(x))


def test_a_model_of_ones_own_layers_in_odd_order():
    model = odd_model()
    x = np.random.default_rng(0).standard_normal((5, *ODD_INPUT), np.float32)
    logits, _ = session(to_onnx(model, input_shape=ODD_INPUT)).run(None, {"input": x})
    assert relative(logits, model.logits(model.forward(x))) < 1e-5


@pytest.mark.parametrize("beyond", [True, False])
def test_windows_of_all_forms(beyond):
    model = model_of_windows(beyond=beyond)
    x = np.random.default_rng(0).standard_normal((5, *WINDOWS_INPUT), np.float32)
    logits, _ = session(to_onnx(model, input_shape=WINDOWS_INPUT)).run(None, {"input": x})
    assert relative(logits, model.forward(x)) < 1e-5


def test_an_output_that_is_no_row_of_scores():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0))
    (y,) = session(to_onnx(model, input_shape=(1, 5, 5))).run(
        None, {"input": np.ones((2, 1, 5, 5), np.float32)}
    )
    assert relative(y, model.forward(np.ones((2, 1, 5, 5), np.float32))) < 1e-5


def test_what_the_file_says_of_itself():
    trained = VARIANTS["rgb-3-classes-64"]
    trained = TrainedModel(
        trained.model, trained.preparation, ("a\nb", 'ÿ"', "猫"), (3, 28, 28), "whole"
    )
    content = to_onnx(trained, accuracy="9/10")
    assert content == to_onnx(trained, accuracy="9/10")
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["class_names"]) == ["a\nb", 'ÿ"', "猫"]
    assert json.loads(properties["preparation"]) == trained.preparation.to_dict()
    assert json.loads(properties["image_shape"]) == [3, 28, 28]
    assert properties["test_accuracy"] == "9/10"
    assert properties["lenet5c"] == model.producer_version == lenet5c.__version__
    assert [entry.version for entry in model.opset_import] == [13]
    image = model.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [side.dim_param or side.dim_value for side in image.shape.dim] == ["N", 3, 28, 28]


def test_what_cannot_be_exported():
    class Own(nn.Layer):
        def forward(self, x, training=False):
            return x

    with pytest.raises(
        ExportError, match="'mine' must have a counterpart .* got Own; build it from Conv2d, "
    ):
        to_onnx(nn.Sequential({"mine": Own(), "fc": nn.Linear(2, 2)}), input_shape=(2,))
    with pytest.raises(ExportError, match="input_shape must be passed"):
        to_onnx(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ExportError, match="input_shape must fit the model"):
        to_onnx(nn.LeNet5(), input_shape=(2, 32, 32))
    with pytest.raises(ValueError, match="input must be one of uint8, float, got 'int'"):
        to_onnx(nn.LeNet5(), input="int")
    model = shaken(nn.LeNet5(rng=0))
    model["fc2"].params["bias"][3] = np.nan
    with pytest.raises(ExportError, match="fc2.bias must be finite"):
        to_onnx(model)
    broken = VARIANTS["relu-avg"]
    with pytest.raises(ExportError, match="image_shape must be at most 32 by 32 with fit='pad'"):
        to_onnx(TrainedModel(broken.model, broken.preparation, broken.class_names, (1, 40, 28)))
    with pytest.raises(ExportError, match="got 2 class names"):
        to_onnx(TrainedModel(broken.model, broken.preparation, ("a", "b"), (1, 28, 28)))
