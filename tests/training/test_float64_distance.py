"""Training stays as close to float64 as PyTorch's float32, over a few steps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from float64_distance import CONFIGURATIONS, PARTED, run  # noqa: E402

STEPS, SEEDS = 8, 5
LITTLE = 1e-6  # distances that are rounding of the weights themselves


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
    courses = [run(CONFIGURATIONS[name], STEPS, seed) for seed in range(SEEDS)]
    ratios, parted = [], np.zeros(2, int)
    for course in courses:
        distances = np.array(course.distances)
        assert np.isfinite(distances).all()
        # Once a rounding decides a ReLU or a maximum otherwise, how far a run comes is chance.
        apart = distances > PARTED
        last = max(0, int(apart.any(axis=1).argmax()) - 1) if apart.any() else STEPS - 1
        ours, theirs = np.maximum(distances[last], LITTLE)
        ratios.append(ours / theirs)
        parted += apart.any(axis=0)
    assert np.exp(np.mean(np.log(ratios))) <= 2, ratios
    assert parted[0] <= parted[1] + 2, parted
    errors, missed = (np.array([course.figures[k] for course in courses]) for k in (1, 2))
    assert np.median(errors[:, 0]) <= 2 * np.median(errors[:, 1]), errors
    assert not missed[:, 0].any()
