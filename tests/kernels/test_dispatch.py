"""Selection of the instruction set, and results that must not depend on it.

A choice is made at import, so each is made in a process of its own, which leaves its results in a
file.
"""

import re

import numpy as np
import pytest
from processes import output, run_python

from lenet5c import reference
from lenet5c.kernels.simd import _cpu, dispatch

EPS = np.finfo(np.float32).eps
SUPPORTED = _cpu.supported()

# Two LeNet5, one smooth and one not, on 257 samples: more tiles than gradient shards, the last one
# short.
LENET5 = """
import sys
import numpy as np
from lenet5c import kernels, nn
from lenet5c.kernels.simd import dispatch
rng = np.random.default_rng(0)
x = rng.standard_normal((257, 1, 20, 20)).astype(np.float32)
labels = rng.integers(10, size=257)
results = {"x": x, "labels": labels}
nets = {"smooth": {"activation": "tanh"}, "default": {"pooling": "max"}}
for name, options in nets.items():
    model = nn.LeNet5(input_size=20, rng=1, **options)
    loss, correct = model.train_step(x, labels, nn.CrossEntropyLoss(label_smoothing=0.1))
    results |= {f"{name}.logits": model.forward(x), f"{name}.loss": loss}
    results[f"{name}.correct"] = correct
    for layer in model.layers:
        for key, value in model[layer].params.items():
            results[f"{name}.{layer}.{key}"] = value
            results[f"{name}.d.{layer}.{key}"] = model[layer].grads[key]
results["conv2d"] = kernels.conv2d(x, model["conv1"].params["weight"], stride=(2, 3), padding=1)
# Sixteen channels side by side, and sixteen groups.
for name, channels, groups in ("channels", 40, 1), ("units", 36, 18):
    image = rng.standard_normal((2, 36, 21, 20)).astype(np.float32)
    weight = rng.standard_normal((channels, 36 // groups, 3, 5)).astype(np.float32)
    options = {"stride": (1, 2), "padding": 2, "groups": groups}
    y = kernels.conv2d(image, weight, **options)
    dx, dweight, dbias = kernels.conv2d_backward(y, image, weight, **options)
    results |= {f"{name}.y": y, f"{name}.dx": dx}
    results |= {f"{name}.dweight": dweight, f"{name}.dbias": dbias}
np.savez(sys.argv[1], **results)
print(kernels.isa, dispatch.isa)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the results of LENET5 for each instruction set."""
    folder = tmp_path_factory.mktemp("isa")
    arrays = {}
    for isa in SUPPORTED:
        assert output(LENET5, folder / f"{isa}.npz", LENET5C_ISA=isa) == [isa, isa]
        with np.load(folder / f"{isa}.npz") as file:
            arrays[isa] = dict(file)
    return arrays


@pytest.mark.parametrize("isa", SUPPORTED)
def test_results_match_the_reference(results, isa):
    arrays = results[isa]

    def assert_close(actual, expected):
        """Within 32 eps of the norm: the longest sums, of 400 terms, err by 10 eps; five follow."""
        assert np.linalg.norm(actual - expected) <= 32 * EPS * np.linalg.norm(expected)

    def layers(name):
        """Return x and the output of each layer of the named model."""

        def weights(layer):
            return arrays[f"{name}.{layer}.weight"], arrays[f"{name}.{layer}.bias"]

        act, pool = (
            (reference.tanh, reference.avg_pool2d)
            if name == "smooth"
            else (reference.relu, reference.max_pool2d)
        )
        y = [arrays["x"]]
        for layer in ("conv1", "conv2"):
            y.append(act(reference.conv2d(y[-1], *weights(layer))))
            y.append(pool(y[-1], 2))
        y.append(y[-1].reshape(257, -1))
        for layer in ("fc1", "fc2", "fc3"):
            y.append(reference.linear(y[-1], *weights(layer)))
            if layer != "fc3":
                y[-1] = act(y[-1])
        return y

    for name in ("smooth", "default"):
        y = layers(name)
        loss, dy = reference.cross_entropy(y[-1], arrays["labels"], 0.1)
        assert_close(arrays[f"{name}.logits"], y[-1])
        assert abs(arrays[f"{name}.loss"] - loss) <= 32 * EPS * loss
        assert arrays[f"{name}.correct"] == np.sum(y[-1].argmax(axis=1) == arrays["labels"])
    # The gradients of the smooth one: at a kink, one rounding may decide where a gradient goes.
    y = layers("smooth")
    _, dy = reference.cross_entropy(y[-1], arrays["labels"], 0.1)
    for i, layer in ((7, "fc3"), (6, "fc2"), (5, "fc1")):
        if layer != "fc3":
            dy = reference.tanh_backward(dy, y[i + 1])
        dy, dweight, dbias = reference.linear_backward(dy, y[i], arrays[f"smooth.{layer}.weight"])
        assert_close(arrays[f"smooth.d.{layer}.weight"], dweight)
        assert_close(arrays[f"smooth.d.{layer}.bias"], dbias)
    dy = dy.reshape(y[4].shape)
    for i, layer in ((2, "conv2"), (0, "conv1")):
        dy = reference.tanh_backward(reference.avg_pool2d_backward(dy, y[i + 1].shape, 2), y[i + 1])
        dy, dweight, dbias = reference.conv2d_backward(dy, y[i], arrays[f"smooth.{layer}.weight"])
        assert_close(arrays[f"smooth.d.{layer}.weight"], dweight)
        assert_close(arrays[f"smooth.d.{layer}.bias"], dbias)


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(SUPPORTED), reason="needs both AVX2 and AVX-512")
def test_same_bits_with_avx2_and_avx512(results):
    assert results["avx2"].keys() == results["avx512"].keys()
    for name, array in results["avx2"].items():
        assert array.tobytes() == results["avx512"][name].tobytes(), name


def test_the_default_is_the_best():
    code = "from lenet5c import kernels; print(kernels.isa)"
    assert output(code, LENET5C_ISA=None) == output(code, LENET5C_ISA="") == [SUPPORTED[0]]
    assert SUPPORTED[-1] == "baseline"


def test_case_does_not_matter():
    assert output("from lenet5c import kernels; print(kernels.isa)", LENET5C_ISA="BaseLine") == [
        "baseline"
    ]


@pytest.mark.parametrize("wanted", ["avx1024", "baseline2", "../avx2"])
def test_an_unknown_instruction_set_is_an_error_that_names_the_choices(wanted):
    done = run_python("import lenet5c.kernels", LENET5C_ISA=wanted)
    assert done.returncode != 0
    (message,) = re.findall("^ImportError: (.*)$", done.stderr, re.MULTILINE)
    for word in ("LENET5C_ISA", repr(wanted), *SUPPORTED):
        assert word in message


def test_choose():
    assert dispatch.choose("", ["avx2", "baseline"]) == "avx2"
    assert dispatch.choose("baseline", ["avx2", "baseline"]) == "baseline"
    with pytest.raises(ImportError, match="avx2, baseline.*'avx512'"):
        dispatch.choose("avx512", ["avx2", "baseline"])
