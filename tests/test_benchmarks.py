"""Benchmarks: each runs and prints its table, with and without other engines."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from common import PEERS
from mpi_programs import LETS_ROOT, find_mpiexec
from processes import HANGING, run_python

PROJECT = Path(__file__).parent.parent
BENCHMARKS = PROJECT / "benchmarks"
TYPES = "float32", "float64"
QUICK = {
    # Without engines whose compilers take a minute.
    "train_epoch": [
        *["--batch-size", 32, 50, "--images", 100, "--numpy-steps", 2, "--repeats", 1],
        *["--engines", "PyTorch", "JAX", "--nets", "lenet5", "simplechains"],
    ],
    "custom_nets": ["--batch-size", 8, "--steps", 2, "--repeats", 1],
    "inference": [
        *["--images", 1, 17, "--threads", 2, "--seconds", 0.001, "--repeats", 1],
        *["--engines", "ONNX Runtime", "OpenVINO", "LiteRT", "PyTorch"],
        *["--nets", "lenet5", "mnist-example"],
    ],
    "kernels": [
        "--shapes",
        "conv2",
        "pool1",
        "--batches",
        1,
        5,
        "--seconds",
        0.001,
        "--repeats",
        1,
    ],
    "scaling": [
        "--batches",
        1,
        17,
        "--sizes",
        28,
        "--channels",
        3,
        "--threads",
        2,
        "--seconds",
        0.001,
        "--repeats",
        1,
    ],
    "contention": ["--images", 100, "--repeats", 1],
    "c_surface": ["--batches", 1, 17, "--seconds", 0.001, "--repeats", 1],
    "from_scratch_layers": ["--batch-size", 5, "--seconds", 0.001, "--repeats", 1],
    "distortion": ["--batch-size", 20, "--seconds", 0.001, "--repeats", 1, "--channels", 3],
    "augmentation": ["--count", 4, "--epochs", 1, "--seeds", 1, "--names", "none", "pictures"],
    "softmax": ["--seconds", 0.001, "--repeats", 1],
    "cost_model": ["--images", 16, 17, "--seconds", 0.001, "--repeats", 1],
    "blocks": ["--batch-size", 20, "--nets", "separable", "residual net", "--repeats", 1],
}
# How the rows of the tables begin.
ROWS = {
    "train_epoch": ["net batch engine"]
    + [f"{net} {batch} lenet5c" for net in ("lenet5", "simplechains") for batch in (32, 50)]
    + [f"lenet5 {batch} NumPy im2col" for batch in (32, 50)],
    "custom_nets": ["net lenet5c", "lenet5-norm-dropout", "three-conv"],
    "inference": ["net images threads engine"]
    + [
        f"{net} {case} lenet5c"
        for net in ("lenet5", "mnist-example")
        for case in ("1 1", "1 2", "17 2")
    ],
    "kernels": ["kernel shape batch dtype lenet5c"]
    + [
        f"{kernel} conv2 {batch} {dtype}"
        for kernel in (
            "conv2d",
            "conv2d_backward",
            "conv_transpose2d",
            "conv_transpose2d_backward",
            "im2col",
            "col2im",
        )
        for batch in (1, 5)
        for dtype in ("float32", "float64")
    ]
    + [
        f"{kernel} pool1 {batch} {dtype}"
        for kernel in (
            "max_pool2d",
            "max_pool2d_backward",
            "max_pool2d_backward_of_x",
            "max_pool2d_both",
            "avg_pool2d",
            "avg_pool2d_backward",
        )
        for batch in (1, 5)
        for dtype in ("float32", "float64")
    ]
    + [f"{name} {dtype}" for name in ("im2col", "softmax") for dtype in ("float32", "float64")]
    + ["max_pool2d 64x16x10x10", "avg_pool2d 64x6x28x28"],
    "scaling": [
        f"{work} {setting}" for work in ("forward", "train step") for setting in (1, 2, 17, 28, 3)
    ],
    "distortion": [
        *["distortion", "none -", "identity", "paper1998", "modern", "elastic alone"],
        *["flips and crops", "colors", "erasing", "mixup", "pictures", "pictures-mixup"],
    ],
    "augmentation": ["augmentation mean", "none", "pictures"],
    "contention": ["lenet5c, as the command", "lenet5c, as a library"],
    "softmax": ["function shape axis dtype lenet5c"]
    + [
        f"{name} {shape} 1 {dtype}"
        for name in ("softmax", "softmax_backward", "log_softmax", "log_softmax_backward")
        for shape in ("1x10", "8x21x64x64")
        for dtype in ("float32", "float64")
    ],
    "cost_model": [f"{work} {n}" for work in ("forward", "train step") for n in (16, 17)],
    "blocks": ["net lenet5c", "separable", "residual net"],
    "c_surface": ["kernel shape batch cykernels"]
    + [
        f"{kernel} {shape} {batch}"
        for kernel in ("conv2d", "conv2d_backward")
        for shape in ("conv1", "conv2")
        for batch in (1, 17)
    ],
    "from_scratch_layers": [
        "layer input lenet5c",
        "convolution 1x28x28",
        "pooling 30x24x24",
        "convolution 2 16x14x14",
        "pooling 2 16x14x14",
        "all of them -",
    ],
    "import_time": [
        "numpy",
        "lenet5c",
        "lenet5c.nn",
        "lenet5c.datasets",
        "lenet5c.training",
        "all of them",
    ],
}
WITH = {
    "train_epoch": ["PyTorch"],
    "custom_nets": ["PyTorch"],
    "kernels": ["PyTorch"],
    "softmax": ["PyTorch"],
    "blocks": ["PyTorch"],
    "inference": ["ONNX Runtime", "PyTorch"],
}


def run(name, *arguments, path=()):
    """Return the lines of a benchmark with single blanks; `path` is searched first."""
    paths = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
    result = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=HANGING,
        env=os.environ
        | LETS_ROOT
        | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
    )
    assert result.returncode == 0, result.stderr
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def assert_rows(lines, name):
    for row in ROWS[name]:
        assert any(line.startswith(f"{row} ") for line in lines), (row, lines)


@pytest.fixture
def nothing_installed(tmp_path):
    """Return a folder with modules that hide other engines."""
    for module in chain(*(packages.values() for packages in PEERS.values())):
        name = module.partition(".")[0]
        (tmp_path / f"{name}.py").write_text("raise ImportError('hidden')\n")
    return tmp_path


@pytest.mark.parametrize("name", QUICK)
def test_runs_without_peers(name, nothing_installed):
    lines = run(name, *QUICK[name], path=[nothing_installed])
    assert_rows(lines, name)
    for peer in (*WITH.get(name, []), "threadpoolctl"):
        assert f"{peer} is not installed and left out: pip install {' '.join(PEERS[peer])}" in lines
    machine = next(line for line in lines if "lenet5c 0" in line)
    assert re.search(
        r"\d cores, \w+; Python \d\S*, NumPy \d\S*, lenet5c \d\S* \(\w+\); \d+ thread", machine
    )


# One process, as PyTorch and JAX take seconds to import; without peers each runs alone.
TOGETHER = """
import json, runpy, sys
for path, arguments in json.loads(sys.argv[1]):
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")
    print("\\f", end="", flush=True)
"""


def test_runs_with_peers():
    modules = [module for name in WITH for peer in WITH[name] for module in PEERS[peer].values()]
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    programs = [(str(BENCHMARKS / f"{name}.py"), list(map(str, QUICK[name]))) for name in WITH]
    path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_python(
        TOGETHER, json.dumps(programs), PYTHONPATH=path, PYTHONIOENCODING="utf-8", **LETS_ROOT
    )
    assert done.returncode == 0, done.stderr
    for name, output in zip(WITH, done.stdout.split("\f"), strict=False):
        lines = [" ".join(line.split()) for line in output.splitlines()]
        assert_rows(lines, name)
        heading = next(line for line in lines if line.startswith(ROWS[name][0]))
        for peer in WITH[name]:
            row = re.compile(rf"\w\S*( \d+)+ {peer} \d.* %")  # of benchmarks with a line an engine
            assert f"{peer} ×" in heading or any(map(row.fullmatch, lines)), (peer, lines)


def test_import_times():
    assert_rows(lines := run("import_time", "--repeats", 1), "import_time")
    assert re.fullmatch(
        r"All of them at their minimum: -?\d+ ms beyond NumPy; the target is 150 ms\.", lines[-1]
    )


def test_rates_of_reading_pictures():
    pytest.importorskip("PIL")
    pytest.importorskip("matplotlib")
    parts = [
        "clean",
        "hard",
        "thin",
        "cropped",
        "pieces",
        "marked",
        "numbers",
        "touching",
        "sheets",
    ]
    lines = run("pictures", "--count", 1, "--parts", *parts, "nothing", "clutter", "sums")
    starts = ("MNIST's images 1 ", "all 1 ", "edges ", "speck ", "plain ", "boxes touch ")
    starts += ("touches a corner 1 ", "in a box 1 ", "in a comb 1 ", "ink overlaps 1 ", "words 1 ")
    starts += ("pen, 2 numbers 1 ", "type, fractions 1 ")
    assert all(any(line.startswith(start) for line in lines) for start in starts), lines


def test_times_of_reasons_and_sizes_of_changes():
    lines = run("explanations", "--count", 8, "--repeats", 1)
    names = ("saliency", "grad_cam", "occlusion", "nearest of 60,000", "slide", "DeepFool")
    assert all(any(line.startswith(name) for line in lines) for name in names), lines
    assert lines[-1] == "Of 8 digits, 8 have a change at most as large as DeepFool's."


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromedriver")
def test_latency_of_the_demo():
    pytest.importorskip("selenium")
    lines = run("demo", "--rounds", 1)
    for page in ("page", "demo"):
        pattern = rf"{page}, end of a stroke 5( \d+\.\d){{4}}"
        assert any(re.fullmatch(pattern, line) for line in lines), lines


def test_memory_of_a_kernel(nothing_installed):
    lines = run(
        "kernels",
        "--memory",
        "--kernels",
        "conv2d",
        "--shapes",
        "conv2",
        "--batches",
        5,
        path=[nothing_installed],
    )
    assert any(re.fullmatch(r"conv2d conv2 5( \d+\.\d){3}", line) for line in lines), lines


def test_a_column_matrix_above_the_limit_is_left_out(nothing_installed):
    lines = run(
        "kernels",
        "--kernels",
        "conv2d",
        "im2col",
        "--shapes",
        "conv2",
        "--batches",
        1,
        "--tables",
        "shapes",
        "--dtypes",
        "float32",
        "--limit",
        0,
        "--seconds",
        0.001,
        "--repeats",
        1,
        path=[nothing_installed],
    )
    assert "im2col conv2 1 float32 - - - -" in lines
    assert any(re.fullmatch(r"conv2d conv2 1 float32 .*s - - \d+ %", line) for line in lines), lines


def test_kernels_with_the_channels_last():
    lines = run(
        "kernels",
        "--data-format",
        "NHWC",
        "--shapes",
        "conv2",
        "depthwise",
        "pool1",
        "--batches",
        2,
        "--seconds",
        0.001,
        "--repeats",
        1,
    )
    assert "Channels last: arrays NHWC, PyTorch's memory format channels_last." in lines
    rows = [f"{kernel} conv2 2 {t}" for kernel in ("conv2d", "conv2d_backward") for t in TYPES]
    pools = ("max_pool2d", "max_pool2d_backward", "max_pool2d_backward_of_x")
    pools += ("avg_pool2d", "avg_pool2d_backward")
    rows += [f"{kernel} pool1 2 {dtype}" for kernel in pools for dtype in TYPES]
    for row in rows:
        assert any(line.startswith(f"{row} ") for line in lines), row
    assert not any(line.startswith("im2col") for line in lines)


def test_many_runs_have_the_same_files():
    lines = run("many_runs", "--runs", 2, "--train-size", 200, "--repeats", 1)
    assert any(re.fullmatch(r"1( +\d+\.\d+){4}", line) for line in lines)
    assert lines[-1].startswith("2 trainings of fast by 2 processes: ")


def test_ranks_beside_one_process():
    if find_mpiexec() is None:
        pytest.skip("there is no mpiexec that runs mpi4py")
    lines = run("mpi", "--batch-sizes", 256, "--images", 512, "--repeats", 1, "--nodes")
    for name in ("1 process x 2 threads", "2 ranks x 1", "2 ranks x 1, as machines"):
        row = re.compile(rf"256 {name} \d\S* / \d\S* ms( \d+\.\d\d /){{1}} \d+\.\d\d")
        assert any(map(row.fullmatch, lines)), (name, lines)


def test_recall_of_a_rare_digit():
    sizes = ("--rare", 4, "--others", 8, "--seeds", 1)
    lines = run("rare_class", "--digits", 8, *sizes, "--settings", 0, 2)
    assert lines[0] == "rare digit settings recall lowest × equal accuracy"
    assert re.fullmatch(r"8 equal( \d+\.\d){2} (1\.00|-) \d+\.\d\d", lines[1])
    assert re.fullmatch(r"8 --class-weight balanced( \d+\.\d){2} \S+ \d+\.\d\d", lines[2])


def test_wrong_results_are_not_timed():
    arrays = {"lenet5c": [[1.0, 2.0]], "other": [[1.0, 2.1]]}
    code = f"import common; common.check_agreement('sum', {arrays}, 1e-4)"
    path = os.pathsep.join([str(BENCHMARKS), *sys.path])
    result = run_python(code, PYTHONPATH=path)
    assert result.returncode == 1
    assert "sum: other and lenet5c differ by 5.0e-02; the tolerance is 1e-04" in result.stderr


def test_extra_installs_the_peers():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {
        re.match(r"[\w-]+", requirement)[0]
        for requirement in project["optional-dependencies"]["bench"]
    }
    assert extra == set(chain(*PEERS.values()))


def test_the_cost_model_finds_the_costs_it_is_made_of():
    import cost_model

    costs = np.array([3e-6, 50e-6, 2e-6])
    cases = [("train step", n, p) for n in (16, 64, 200, 256, 1000) for p in (1, 2)]
    found = cost_model.fit(cases, [cost_model.predict(costs, *case) for case in cases])
    assert np.allclose(found, costs, atol=1e-12)
    # At most 16 shards, cut by the batch alone.
    tiles = [cost_model.tiles_in_a_row("train step", n, 64) for n in (16, 128, 256, 257, 1024)]
    assert tiles == [1, 1, 1, 2, 4]
    assert cost_model.tiles_in_a_row("forward", 10_000, 64) == 10
