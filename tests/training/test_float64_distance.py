"""Training stays as near to float64 as PyTorch's float32 does, over a few steps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from float64_distance import CONFIGURATIONS, run  # noqa: E402

STEPS = 12  # before a rounding decides a ReLU or a maximum otherwise, and chance rules


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize(
    "name",
    [
        "adam-32",
        "adamw-smoothing-cosine",
        "nadam",
        "adagrad-decay",
        "rmsprop-momentum-decay",
        "sgd-nesterov-decay",
        "sgd-momentum-cosine",
        "sgd-tanh-avg",
    ],
)
def test_is_as_near_as_pytorch(name):
    course = run(CONFIGURATIONS[name], STEPS)
    distances, errors, missed = course.figures
    assert distances[0] <= max(2 * distances[1], 1e-5), distances
    assert errors[0] <= 2 * errors[1]
    assert not missed[0]
    assert np.isfinite(course.distances).all()
