"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import lenet5c

MODULES = [
    module.name
    for module in pkgutil.walk_packages(lenet5c.__path__, "lenet5c.")
    if not module.name.rpartition(".")[2].startswith("_")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    assert {"lenet5c.nn.layer", "lenet5c.kernels.convolution", "lenet5c.optim.schedule"} <= set(MODULES)
