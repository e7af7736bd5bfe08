"""C files on an emulated Cortex-M4 and M0+: the same results, and the documented memory."""

import re

import microcontroller
import numpy as np
import pytest
from emulated import MACHINES, emulate, has_tools
from exported_models import images, variants

from lenet5c.datasets import mnist
from lenet5c.export import quantize_int8, to_c
from lenet5c.export.footprint import has_compiler, measure_c, with_footprints
from lenet5c.training import open_model

needs_tools = pytest.mark.skipif(
    not has_tools(), reason="needs arm-none-eabi-gcc and qemu-system-arm"
)
CPUS = list(MACHINES)


def small_model(name):
    trained = open_model() if name == "best" else variants()[name]
    x = mnist()[1].images[:3] if name == "best" else images(trained, 3)
    return trained, x, quantize_int8(trained, x)


@needs_tools
@pytest.mark.parametrize("optimize", ["-O2", "-Os"])
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", ["best", "1998", "kernel-3"])
def test_int8(tmp_path, name, cpu, optimize):
    _, x, model = small_model(name)
    text = to_c(model, "model")
    found = emulate(tmp_path, text, x, cpu, optimize=optimize)
    np.testing.assert_array_equal(found.scores, model.scores(x))
    np.testing.assert_array_equal(found.classes, model.predict(x))
    if optimize == "-O2":
        measured = measure_c(text, cpu)
        assert found.stack.max() <= measured.stack <= found.stack.max() + 64
        assert measured.stack < 300 and measured.ram < 6 * 1024
        constants = int(re.search(r"flash +([\d,]+) bytes", text).group(1).replace(",", ""))
        assert constants < measured.flash < constants + 4096


@needs_tools
@pytest.mark.parametrize("quantize", ["none", "weights"])
@pytest.mark.parametrize("name", ["best", "tanh-max"])
def test_floats(tmp_path, name, quantize):
    trained, x, _ = small_model(name)
    text = to_c(trained, "model", quantize=quantize)
    found = emulate(tmp_path, text, x, "cortex-m4")
    logits = trained.logits(x)
    assert np.abs(found.scores - logits).max() < (1e-4 if quantize == "none" else 1)
    # The library's tanhf and what it calls take the most, and not for every number.
    assert found.stack.max() <= measure_c(text, "cortex-m4").stack <= found.stack.max() + 200


@needs_tools
def test_the_two_ways_of_sums_agree(tmp_path):
    _, x, model = small_model("best")
    text = to_c(model, "model")
    pairs = emulate(tmp_path, text, x, "cortex-m4")
    portable = emulate(tmp_path, text, x, "cortex-m4", "-DMODEL_PORTABLE")
    np.testing.assert_array_equal(pairs.scores, portable.scores)
    assert pairs.instructions.mean() < 0.7 * portable.instructions.mean()


@needs_tools
def test_the_benchmark(capsys, monkeypatch):
    arguments = ["--images", "2", "--test", "100", "--forms", "int8"]
    monkeypatch.setattr("sys.argv", ["microcontroller.py", *arguments])
    assert microcontroller.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "with int8" in lines[0] and [line.split()[2] for line in lines[2:]] == CPUS
    assert all(line.endswith("yes") for line in lines[2:])


@pytest.mark.skipif(not has_compiler(), reason="needs arm-none-eabi-gcc")
def test_figures_in_the_comment():
    _, _, model = small_model("best")
    text = to_c(model)
    measured = [measure_c(text, cpu) for cpu in CPUS]
    written = with_footprints(text, measured)
    for each in measured:
        assert f"{each.stack} bytes on {each.cpu}" in written
        assert f"{each.flash:,} bytes on {each.cpu}" in written
    assert "not measured" in text and "not measured" not in written
    assert max(map(len, written.splitlines())) < 140
