"""C files compile without warnings and have the results of the models."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from c_programs import COMPILERS, assert_same, compiled, needs_compiler, scores
from exported_models import ODD_INPUT, WINDOWS_INPUT, images, model_of_windows, odd_model, variants

from lenet5c import nn
from lenet5c.datasets import mnist
from lenet5c.export import ExportError, quantize_weights, to_c
from lenet5c.export.activations import float_text
from lenet5c.export.c_text import string
from lenet5c.training import TrainedModel, evaluate, open_model

VARIANTS = variants()


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_shipped_model_on_test_images(tmp_path, compiler):
    trained, x = open_model(), mnist()[1].images[:600]
    found = scores(tmp_path, to_c(trained), x, "-O2", compiler=compiler)
    assert np.abs(found[0] - trained.logits(x)).max() < 1e-5
    assert (found[1] == trained.logits(x).argmax(axis=1)).all()


@needs_compiler
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_probabilities_are_at_the_temperature(tmp_path, temperature):
    trained = replace(VARIANTS["relu-avg"], temperature=temperature)
    caller = tmp_path / "caller.c"
    caller.write_text(
        '#include <stdio.h>\n#define LENET5_DECLARATIONS_ONLY\n#include "model.c"\n'
        "int main(void) { float v[LENET5_CLASSES]; fread(v, sizeof v, 1, stdin) == 1 ? "
        "lenet5_softmax(v, v) : (void)0; return fwrite(v, sizeof v, 1, stdout) == 1 ? 0 : 1; }\n"
    )
    text, scores = to_c(trained), trained.logits(images(trained, 1))
    assert ("at the temperature 0.3" in text) == (temperature != 1)
    program = compiled(tmp_path, text, sources=[caller])
    done = subprocess.run([program], input=scores.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.float32)
    np.testing.assert_allclose(found, trained.softmax(scores)[0], rtol=1e-5, atol=1e-7)


@needs_compiler
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(tmp_path, name):
    trained = VARIANTS[name]
    x = images(trained, 20)
    assert_same(scores(tmp_path, to_c(trained), x), trained.logits(x))


@needs_compiler
def test_windows_that_see_the_padding_alone(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 2, (1, 1), stride=(2, 3), padding=2, rng=0),
        nn.Flatten(),
        nn.Linear(12, 2, rng=1),
    )
    x = np.array([2, -3], np.float32).reshape(2, 1, 1, 1)
    assert_same(scores(tmp_path, to_c(model, input_shape=(1, 1, 1)), x), model.forward(x))


@needs_compiler
@pytest.mark.parametrize("uneven", [True, False])
@pytest.mark.parametrize("beyond", [True, False])
def test_windows_of_all_forms(tmp_path, uneven, beyond):
    model = model_of_windows(uneven, (2, 1), beyond)
    x = np.random.default_rng(0).standard_normal((5, *WINDOWS_INPUT), np.float32)
    assert_same(scores(tmp_path, to_c(model, input_shape=WINDOWS_INPUT), x), model.forward(x))


@needs_compiler
@pytest.mark.parametrize(
    "layers", [[nn.Linear(3, 2, rng=0)], [nn.Tanh()], [nn.Tanh(), nn.Linear(3, 2, rng=0)]], ids=str
)
def test_models_of_a_layer_or_two(tmp_path, layers):
    model, x = nn.Sequential(layers), np.random.default_rng(0).standard_normal((5, 3), np.float32)
    assert_same(scores(tmp_path, to_c(model, input_shape=(3,)), x), model.forward(x))


@needs_compiler
@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.Tanh(), nn.ScaledTanh()], ids=str)
def test_large_values_where_infinities_are_not_heeded(tmp_path, layer):
    model = nn.Sequential(nn.Conv2d(1, 3, 3, rng=0), layer, nn.Flatten(), nn.Linear(300, 2, rng=1))
    x = np.random.default_rng(0).uniform(-1000, 1000, (20, 1, 12, 12)).astype(np.float32)
    found = scores(tmp_path, to_c(model, input_shape=(1, 12, 12)), x, "-O3", "-ffast-math")
    assert_same(found, model.forward(x))


@needs_compiler
@pytest.mark.parametrize("name", ["1998", "batch-norm", "enlarged"])
def test_weights_of_int8(tmp_path, name):
    trained = VARIANTS[name]
    x = images(trained, 20)
    found = scores(tmp_path, to_c(trained, quantize="weights"), x)
    assert_same(found, quantize_weights(trained).logits(x))
    assert not np.array_equal(found[0], trained.logits(x))


def test_weights_of_int8_cost_little_accuracy():
    trained, (_, test) = open_model(), mnist()
    small = quantize_weights(trained)
    assert abs(evaluate(small.model, test, small.preparation).correct - 9965) <= 5
    assert len(to_c(trained, quantize="weights")) < len(to_c(trained)) / 2


@needs_compiler
def test_with_sanitizers(tmp_path):
    """Check for accesses outside an array and undefined arithmetic.

    In the oddest model and in one that resizes.
    """
    options = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }")
    command = [COMPILERS[0], *options, str(probe), "-o", str(tmp_path / "probe")]
    if (
        subprocess.run(command, capture_output=True).returncode
        or subprocess.run([tmp_path / "probe"]).returncode
    ):
        pytest.skip("sanitizers are not installed")
    model, x = odd_model(), np.random.default_rng(0).standard_normal((6, *ODD_INPUT), np.float32)
    assert_same(
        scores(tmp_path, to_c(model, input_shape=ODD_INPUT), x, *options),
        model.logits(model.forward(x)),
    )
    for name in ("shrunk", "1998-rgb-4-classes"):
        x = images(VARIANTS[name], 3)
        assert_same(scores(tmp_path, to_c(VARIANTS[name]), x, *options), VARIANTS[name].logits(x))


@needs_compiler
def test_it_checks_itself(tmp_path):
    text = to_c(open_model(), "digits", quantize="weights", image=mnist()[1].images[0])
    program = compiled(tmp_path, text, "-DLENET5C_MODEL_MAIN")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "class 7 7" in done.stdout and done.stdout.endswith("passed\n")
    # Another weight, and it says so.
    broken = re.sub(r"(digits_stage5_bias\[10\] = \{\n    )", r"\g<1>9.0f + ", text)
    program = compiled(tmp_path, broken, "-DLENET5C_MODEL_MAIN")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("FAILED\n")


@needs_compiler
@pytest.mark.parametrize("options", [["-O2"], ["-O3", "-ffast-math"]], ids=" ".join)
@pytest.mark.parametrize("number", ["NAN", "INFINITY"])
def test_it_fails_where_a_score_is_no_number(tmp_path, options, number):
    """Change one of the first scores, so that later ones are correct again."""
    text = to_c(open_model(), "digits", image=mnist()[1].images[0])
    broken = re.sub(r"(digits_stage5_bias\[10\] = \{\n    )", rf"\g<1>{number} + ", text)
    program = compiled(tmp_path, broken, "-DLENET5C_MODEL_MAIN", *options)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("FAILED\n"), done.stdout


@needs_compiler
def test_odd_model_checks_itself_also_as_cpp(tmp_path):
    text = to_c(odd_model(), input_shape=ODD_INPUT)
    assert subprocess.run([compiled(tmp_path, text, "-DLENET5C_MODEL_MAIN")]).returncode == 0
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler:
        command = [
            compiler,
            "-x",
            "c++",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-DLENET5C_MODEL_MAIN",
            str(tmp_path / "model.c"),
            "-o",
            str(tmp_path / "cpp"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert subprocess.run([tmp_path / "cpp"], capture_output=True).returncode == 0


@needs_compiler
def test_two_models_in_one_program_with_hostile_class_names(tmp_path):
    names = (
        'a"; int x = 1; //',
        "*/ ??/ \\",
        "猫\x00\n9",
        "%s%n",
        "",
        "\ud800",
        "??=",
        "é1",
        "'",
        "\\\n",
    )
    trained = VARIANTS["relu-avg"]
    hostile = TrainedModel(trained.model, trained.preparation, names, trained.image_shape)
    text = to_c(hostile, "first") + to_c(trained, "second")
    program = tmp_path / "main.c"
    program.write_text(
        '#include <string.h>\n#include "declared.h"\n'
        'int main(void) { return strcmp(first_class_names[1], "*/ ?" "?/ \\\\")'
        ' || strcmp(first_class_names[7], "\\303\\2511") || strcmp(first_class_names[3], "%s%n")'
        ' || strcmp(second_class_names[9], "9"); }'
    )
    declared = "".join(
        re.search(
            r"#ifndef \w+_DECLARED.*?#endif /\* \w+_DECLARED \*/\n", to_c(t, n), re.DOTALL
        ).group()
        for t, n in ((hostile, "first"), (trained, "second"))
    )
    (tmp_path / "declared.h").write_text(declared)
    assert (
        subprocess.run([compiled(tmp_path, text, "-trigraphs", sources=[program])]).returncode == 0
    )


def test_names_of_symbols():
    for name in ("", "9a", "a b", "a-b", "_a", "a__b", "a_", "é", "a;", "a" * 41, "a\n"):
        with pytest.raises(ExportError, match="name must be"):
            to_c(nn.LeNet5(), name)
    text = to_c(nn.LeNet5(), "net_2")
    assert (
        "int net_2_predict_input(" in text and "NET_2_CLASSES 10" in text and "lenet5_" not in text
    )


def test_numbers_are_read_back_exactly():
    values = (
        np.random.default_rng(0)
        .integers(0, 2**32, 2000, np.uint64)
        .astype(np.uint32)
        .view(np.float32)
    )
    values = values[np.isfinite(values)]
    texts = [float_text(value) for value in [*values, 0.0, -0.0, 1e-45, 16777216]]
    assert all(
        re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text) and ("." in text or "e" in text)
        for text in texts
    )
    np.testing.assert_array_equal(
        np.array([text[:-1] for text in texts]).astype(np.float32)[: len(values)], values
    )
    assert string("??é") == '"\\077\\077\\303\\251"'


def test_memory_is_as_the_comment_says():
    text = to_c(open_model())
    assert "flash  246,824 bytes" in text  # 61,706 floats
    assert "RAM    9,024 bytes" in text  # the padded image, the first pooled maps, two rows
    assert "416,520 multiply-adds" in text
    assert max(map(len, text.splitlines())) < 140
    assert text == to_c(open_model())


def test_what_cannot_be_exported():
    with pytest.raises(ExportError, match=r"got output shape \(2, 3, 3\)"):
        to_c(nn.Sequential(nn.Conv2d(1, 2, 3)), input_shape=(1, 5, 5))
    with pytest.raises(ExportError, match="must have at least one layer that computes something"):
        to_c(nn.Sequential(nn.Dropout()), input_shape=(4,))
    with pytest.raises(ValueError, match="quantize must be one of none, weights, got 'int4'"):
        to_c(nn.LeNet5(), quantize="int4")
    with pytest.raises(ValueError, match="image must be uint8"):
        to_c(open_model(), image=np.zeros((28, 28), np.uint8))
