"""Fixtures for the tests of the reference."""

import numpy as np
import pytest

pytest.register_assert_rewrite("gradient_checks")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
