"""The room as a whole: a reference for every fast function, and no imports of them."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c import kernels, nn, optim, reference

ROOM = Path(reference.__file__).parent
ALLOWED = {"lenet5c.reference", "lenet5c.errors"}

public = [getattr(nn, name) for name in nn.__all__]
losses = list(nn.LOSSES.values())
models = [nn.LeNet5, nn.LeNet5_1998]
layers = [
    each
    for each in public
    if inspect.isclass(each)
    and issubclass(each, nn.Layer)
    and each is not nn.Layer
    and not issubclass(each, nn.Sequential)
]
optimizers = sorted({each.cls for each in optim.OPTIMIZERS.values()}, key=str)


def named_counterparts(documented):
    """Find the functions that a docstring names as its reference."""
    references = re.findall(
        r"Reference: (`lenet5c\.reference\.\w+`(?: and `\w+`)?)", documented.__doc__
    )
    assert len(references) == 1, f"{documented.__name__} should name its counterpart once"
    return re.findall(r"(\w+)`", references[0])


def test_there_are_layers_losses_and_optimizers():
    assert {nn.Conv2d, nn.Dropout, nn.ReLU, nn.RBF} <= set(layers)
    assert {nn.CrossEntropyLoss, nn.MAPLoss} <= set(losses)
    assert {optim.SGD, optim.Adam, optim.SDLM} <= set(optimizers)


@in_one_test
@pytest.mark.parametrize("layer", layers, ids=lambda layer: layer.__name__)
def test_a_layer_names_its_counterparts(layer):
    for counterpart in named_counterparts(layer):
        assert {counterpart, f"{counterpart}_backward", f"{counterpart}_backward_second"} <= set(
            reference.__all__
        )


@pytest.mark.parametrize("loss", losses, ids=lambda loss: loss.__name__)
def test_a_loss_names_its_counterpart(loss):
    (counterpart,) = named_counterparts(loss)
    assert {counterpart, f"{counterpart}_second"} <= set(reference.__all__)


@pytest.mark.parametrize("model", models, ids=lambda model: model.__name__)
def test_a_model_names_its_counterpart(model):
    (counterpart,) = named_counterparts(model)
    assert {counterpart, f"{counterpart}_backward"} <= set(reference.__all__)


@pytest.mark.parametrize("optimizer", optimizers, ids=lambda optimizer: optimizer.__name__)
def test_an_optimizer_has_a_counterpart(optimizer):
    assert f"{optimizer.__name__.lower()}_step" in reference.__all__


def test_a_kernel_has_a_counterpart_with_its_arguments():
    for name in kernels.__all__:
        kernel = getattr(kernels, name)
        if not callable(kernel) or name.endswith("num_threads"):
            continue
        arguments = inspect.signature(kernel).parameters
        counterpart = inspect.signature(getattr(reference, name)).parameters
        assert list(counterpart) == [
            each for each in arguments if each not in ("out", "num_threads")
        ]
        for each in counterpart:
            assert counterpart[each].default == arguments[each].default


@in_one_test
@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.name)
def test_nothing_of_the_package_is_imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        for name in names:
            if name.partition(".")[0] == "lenet5c":
                assert ".".join(name.split(".")[:2]) in ALLOWED


def test_all_names_are_listed():
    functions = {name for name, each in vars(reference).items() if inspect.isfunction(each)}
    assert functions == set(reference.__all__)


def test_arguments_may_be_lists_and_of_any_dtype(rng):
    """Results are the same float64, and arguments are unchanged."""
    x, weight, dy = rng.integers(-9, 9, (1, 2, 4, 4)), rng.integers(-9, 9, (3, 2, 2, 2)), 1
    expected = reference.conv2d(x.astype(float), weight.astype(float))
    for each in (x.astype(np.float32), x.astype(np.int8), x.tolist()):
        y = reference.conv2d(each, weight.astype(np.float16))
        assert y.dtype == np.float64
        np.testing.assert_array_equal(y, expected)
    x, dy = x.astype(float), np.ones((1, 3, 3, 3))
    for array in (x, dy):
        array.flags.writeable = False
    dx, _, _ = reference.conv2d_backward(dy, x, weight)
    assert dx.flags.writeable and not np.shares_memory(dx, x)
