"""C files of int8 compute what the integer model does, to the bit."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from c_programs import COMPILERS, assert_equal, assert_near, compiled, needs_compiler
from exported_models import ODD_INPUT, WINDOWS_INPUT, images, model_of_windows, odd_model, variants

from lenet5c import nn
from lenet5c.datasets import mnist
from lenet5c.export import ExportError, quantize_int8, to_c
from lenet5c.training import evaluate, open_model

VARIANTS = variants()


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_shipped_model_on_test_images(tmp_path, compiler):
    train, test = mnist()
    model = quantize_int8(open_model(), train.images[:200])
    assert_equal(tmp_path, model, test.images[:300], "-O2", compiler=compiler)


@needs_compiler
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(tmp_path, name):
    trained = VARIANTS[name]
    x = images(trained, 40)
    model = quantize_int8(trained, x)
    assert_near(model, x, trained.logits(x), 0.1)
    assert_equal(tmp_path, model, x)
