"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import lenet5c
from lenet5c.errors import MissingExtraError

MODULES = [
    module.name
    for module in pkgutil.walk_packages(lenet5c.__path__, "lenet5c.")
    if not module.name.rpartition(".")[2].startswith("_")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    assert {"lenet5c.nn.layer", "lenet5c.kernels.convolution", "lenet5c.optim.schedule"} <= set(
        MODULES
    )
