"""C files of int8 are bit-identical to the integer model."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from c_programs import COMPILERS, assert_equal, assert_near, compiled, needs_compiler
from exported_models import (
    ODD_INPUT,
    WINDOWS_INPUT,
    images,
    model_of_windows,
    odd_model,
    shaken,
    variants,
)

from lenet5c import nn
from lenet5c.datasets import mnist
from lenet5c.export import ExportError, quantize_int8, to_c
from lenet5c.export.c_memory import plan_memory
from lenet5c.export.integer import LOW, Sums, rescale_by
from lenet5c.training import open_model

VARIANTS = variants()


@pytest.fixture(scope="module")
def shipped():
    return quantize_int8(open_model(), mnist()[0].images[:300])


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_shipped_model_on_test_images(tmp_path, compiler, shipped):
    assert_equal(tmp_path, shipped, mnist()[1].images[:300], "-O2", compiler=compiler)


def test_accuracy_of_the_shipped_model(shipped):
    _, test = mnist()
    found = shipped.predict(test.images[:2000])
    expected = open_model().predict(test.images[:2000])
    assert (found == expected).mean() >= 0.999


@needs_compiler
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(tmp_path, name):
    trained = VARIANTS[name]
    x = images(trained, 40)
    model = quantize_int8(trained, x)
    assert_near(model, x, trained.logits(x), 0.1)
    assert_equal(tmp_path, model, x)


@needs_compiler
@pytest.mark.parametrize("ranges", ["mse", "minmax"])
def test_odd_model(tmp_path, ranges):
    model, x = odd_model(), np.random.default_rng(0).standard_normal((30, *ODD_INPUT), np.float32)
    small = quantize_int8(model, x, input_shape=ODD_INPUT, ranges=ranges)
    assert_near(small, x, model.logits(model.forward(x)), 0.2)
    assert_equal(tmp_path, small, x)


@needs_compiler
@pytest.mark.parametrize("uneven", [True, False])
@pytest.mark.parametrize("beyond", [True, False])
def test_windows_of_all_forms(tmp_path, uneven, beyond):
    model = model_of_windows(uneven, (2, 1), beyond)
    x = np.random.default_rng(0).standard_normal((30, *WINDOWS_INPUT), np.float32)
    small = quantize_int8(model, x, input_shape=WINDOWS_INPUT)
    assert_near(small, x, model.forward(x), 0.1)
    assert_equal(tmp_path, small, x)


POOLED = {
    "relu-max": [nn.ReLU(), nn.MaxPool2d(2)],
    "max-tanh": [nn.MaxPool2d(2), nn.Tanh()],
    "falling-max-relu": [nn.ScaledTanh(1.2, -0.7), nn.MaxPool2d(2), nn.ReLU()],
    "gelu-max": [nn.GELU(), nn.MaxPool2d(2)],
    "avg-sigmoid": [nn.AvgPool2d(2), nn.Sigmoid()],
    "leaky-avg-tanh": [nn.LeakyReLU(0.3), nn.AvgPool2d((1, 3)), nn.Tanh()],
    "subsample-tanh": [nn.Subsample2d(6, 2, rng=1), nn.ScaledTanh()],
    "tanh-subsample": [nn.Tanh(), nn.Subsample2d(6, 2, rng=1)],
    "large-window": [nn.ReLU(), nn.GlobalAvgPool2d()],
}


@needs_compiler
@pytest.mark.parametrize("name", POOLED)
def test_pooling_and_activations_in_every_order(tmp_path, name):
    layers = [nn.Conv2d(2, 6, 3, padding=1, rng=0), *POOLED[name], nn.Flatten()]
    (features,) = nn.Sequential(layers).output_shape((2, 8, 12))
    model = shaken(nn.Sequential([*layers, nn.Linear(features, 3, rng=2)]))
    x = np.random.default_rng(0).standard_normal((30, 2, 8, 12), np.float32)
    small = quantize_int8(model, x, input_shape=(2, 8, 12))
    assert_near(small, x, model.forward(x), 0.1)
    assert_equal(tmp_path, small, x)


@needs_compiler
@pytest.mark.parametrize(
    "layers", [[nn.Linear(3, 2, rng=0)], [nn.Tanh()], [nn.ReLU(), nn.Linear(3, 2, rng=0)]], ids=str
)
def test_models_of_a_layer_or_two(tmp_path, layers):
    model, x = nn.Sequential(layers), np.random.default_rng(0).standard_normal((40, 3), np.float32)
    small = quantize_int8(model, x, input_shape=(3,))
    assert_near(small, x, model.forward(x), 0.05)
    assert_equal(tmp_path, small, x)


@needs_compiler
def test_weights_and_sums_at_their_ends(tmp_path):
    """The largest possible sums; a channel without weights, and one with a large bias."""
    layer = nn.Linear(600, 5, rng=0)
    layer.params["weight"][:] = np.sign(layer.params["weight"])
    layer.params["weight"][1] = 0
    layer.params["weight"][2] *= 1e-7
    layer.params["bias"][:] = [0, 1, 300, -1, 0]
    model = nn.Sequential(layer, nn.LeakyReLU(0.5), nn.Linear(5, 3, rng=1))
    x = np.random.default_rng(0).choice([-1.0, 1.0], (50, 600)).astype(np.float32)
    x[0] = layer.params["weight"][0]
    x[1] = -x[0]
    small = quantize_int8(model, x, input_shape=(600,), ranges="minmax")
    assert_near(small, x, model.forward(x), 0.1)
    assert_equal(tmp_path, small, x)


@needs_compiler
@pytest.mark.parametrize("temperature", [0.05, 1.3])
def test_probabilities(tmp_path, temperature):
    trained = replace(VARIANTS["relu-avg"], temperature=temperature)
    x = images(trained, 30)
    model = quantize_int8(trained, x)
    assert f"at the temperature {temperature:g}" in to_c(model)
    assert_equal(tmp_path, model, x)
    exact = trained.softmax(model.logits(x).astype(np.float64))
    assert np.abs(model.probabilities(x) - exact).max() < 3e-4


def test_rescaling_is_rounding():
    ratios = np.array([0.7, 3e-5, -0.01, 1.0])
    v = np.random.default_rng(0).integers(-(2**30), 2**30, (1000, 4))
    made = rescale_by(ratios, low=-(2**31), high=2**31)
    assert np.abs(made.multiplier).max() < 2**31
    assert np.abs(made.run(v) - v * ratios).max() <= 1
    few = rescale_by(0.25).run(np.array([[-6], [-5], [2], [6], [1000]]))
    np.testing.assert_array_equal(few, [[-1], [-1], [1], [2], [127]])


def test_values_do_not_meet_in_memory(shipped):
    """Simulate calls row by row: none reads what was overwritten before."""
    plan = plan_memory(shipped.ops, 1024, outside=[shipped.ops[-1]])
    assert plan.size < 1024 + 1176  # two layers do not lie side by side
    for number, call in enumerate(plan.calls):
        there = [value for value in plan.values if value.first <= number <= value.last]
        for value in there:
            for other in there:
                if value is other or value.end <= other.place or other.end <= value.place:
                    continue
                source, target = sorted((value, other), key=lambda each: each.first)
                assert (source, target) == (call.sources[0], call.target)
                op = call.what
                assert isinstance(op, Sums)
                width = target.size // op.result[0]
                for row in range(op.result[0]):
                    first = row * op.window[0] * op.stride[0] - op.pads[0]
                    read = source.place + first * op.shape[1] * op.shape[2]
                    assert target.place + (row + 1) * width <= read


@needs_compiler
@pytest.mark.parametrize("options", [[], ["-DLENET5_PORTABLE"], ["-O3", "-funsigned-char"]])
def test_it_checks_itself(tmp_path, shipped, options):
    text = to_c(shipped, "digits", image=mnist()[1].images[0])
    program = compiled(tmp_path, text, "-DLENET5C_MODEL_MAIN", *options)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "class 7 7" in done.stdout and done.stdout.endswith("passed\n")
    # One bias is another by one, and it says so.
    broken = re.sub(r"(digits_stage5_bias\[10\] = \{\n    )", r"\g<1>1 + ", text)
    program = compiled(tmp_path, broken, "-DLENET5C_MODEL_MAIN")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("1 scores wrong: FAILED\n")


@needs_compiler
def test_with_sanitizers(tmp_path):
    options = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }")
    command = [COMPILERS[0], *options, str(probe), "-o", str(tmp_path / "probe")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("sanitizers are not installed")
    x = np.random.default_rng(0).standard_normal((6, *ODD_INPUT), np.float32)
    assert_equal(tmp_path, quantize_int8(odd_model(), x, input_shape=ODD_INPUT), x, *options)
    for name in ("shrunk", "1998-rgb-4-classes", "mean-image"):
        x = images(VARIANTS[name], 4)
        assert_equal(tmp_path, quantize_int8(VARIANTS[name], x), x, *options)


def test_no_floats_in_the_file(shipped):
    text = to_c(shipped)
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(float|double|math\.h)\b|\d\.\d", code)
    assert max(map(len, text.splitlines())) < 140
    assert text == to_c(shipped)


def test_memory_is_as_the_comment_says(shipped):
    text = to_c(shipped)
    assert "RAM    1,896 bytes" in text and "416,520 multiply-adds" in text
    static = re.findall(r"static (\w+) lenet5_\w+\[(\d+)\];", text)
    sizes = {"int8_t": 1, "int32_t": 4}
    assert sum(sizes[kind] * int(count) for kind, count in static) == 1896


def test_images_at_the_ends_of_their_range():
    trained = VARIANTS["relu-avg"]
    model = quantize_int8(trained, images(trained, 5))
    black = np.zeros((1, 1, 28, 28), np.uint8)
    assert (model.inputs(black) == LOW).all() and (model.inputs(black + 255).max() == 127)


def test_what_cannot_be_quantized():
    trained = VARIANTS["relu-avg"]
    x = images(trained, 3)
    with pytest.raises(ValueError, match="ranges must be one of mse, minmax, got 'max'"):
        quantize_int8(trained, x, ranges="max")
    with pytest.raises(ValueError, match="images must contain at least one image, got none"):
        quantize_int8(trained, x[:0])
    with pytest.raises(ValueError, match=r"images must have the input shape \(3,\), got \(4,\)"):
        quantize_int8(nn.Sequential(nn.Linear(3, 2)), np.zeros((2, 4)), input_shape=(3,))
    with pytest.raises(ExportError, match="activations must be finite"):
        quantize_int8(nn.Sequential(nn.Tanh()), np.full((2, 4), np.nan), input_shape=(4,))
    with pytest.raises(ValueError, match="quantize must be 'none' for an IntegerModel"):
        to_c(quantize_int8(trained, x), quantize="weights")
