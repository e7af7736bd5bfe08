"""Learning-rate schedules: ends, shape, and invalid arguments."""

from dataclasses import FrozenInstanceError
from itertools import pairwise
from math import cos, pi

import numpy as np
import pytest
from pytest import approx

from lenet5c import optim


def rates(schedule, steps):
    return [schedule(step) for step in range(steps)]


def assert_falls(values):
    assert all(a >= b for a, b in pairwise(values))


def test_constant():
    assert rates(optim.Constant(0.3), 3) == [0.3] * 3
    assert optim.Constant(0.3)(10**9) == 0.3


class TestStep:
    def test_falls_by_gamma(self):
        schedule = optim.Step(0.8, every=3, gamma=0.5)
        assert rates(schedule, 10) == approx([0.8] * 3 + [0.4] * 3 + [0.2] * 3 + [0.1])

    def test_gamma_is_a_tenth(self):
        assert optim.Step(1.0, every=2)(5) == approx(0.01)

    @pytest.mark.parametrize("every", [0, -1])
    def test_every_is_at_least_one(self, every):
        with pytest.raises(ValueError, match=f"every must be.*got {every}"):
            optim.Step(0.1, every)


class TestCosine:
    def test_ends(self):
        schedule = optim.Cosine(0.8, total=11, final=0.2)
        assert schedule(0) == 0.8
        assert schedule(5) == approx(0.5)
        assert schedule(10) == approx(0.2)
        assert schedule(11) == schedule(1000) == schedule(10)

    def test_is_half_a_cosine(self):
        expected = [0.2 + 0.3 * (1 + cos(pi * step / 10)) for step in range(11)]
        assert rates(optim.Cosine(0.8, total=11, final=0.2), 11) == approx(expected)
        assert_falls(rates(optim.Cosine(0.8, total=50), 60))

    def test_final_is_zero(self):
        assert optim.Cosine(0.8, total=11)(10) == approx(0, abs=1e-16)

    def test_of_one_step(self):
        assert optim.Cosine(0.8, total=1)(0) == 0.8


class TestOneCycle:
    def test_ends_and_peak(self):
        schedule = optim.OneCycle(4e-3, total=101, warm_up=0.3)
        assert schedule(0) == approx(4e-3 / 25)
        assert schedule(30) == 4e-3
        assert schedule(100) == approx(4e-7)
        assert schedule(101) == schedule(1000) == schedule(100)

    def test_divisors(self):
        schedule = optim.OneCycle(1.0, total=101, start_divisor=10, final_divisor=100)
        assert schedule(0) == approx(0.1)
        assert schedule(100) == approx(0.01)

    def test_rises_and_falls_along_cosines(self):
        values = rates(optim.OneCycle(1.0, total=101, warm_up=0.3), 110)
        assert_falls(values[30::-1])
        assert_falls(values[30:])
        assert values[15] == approx((1 / 25 + 1) / 2)
        assert values[65] == approx((1 + 1e-4) / 2)

    @pytest.mark.parametrize("total", [1, 2, 3, 7])
    @pytest.mark.parametrize("warm_up", [0, 0.3, 0.5, 1])
    def test_few_steps_and_all_shares(self, total, warm_up):
        values = rates(optim.OneCycle(1.0, total, warm_up), total + 3)
        assert all(1e-4 <= value <= 1 for value in values)
        if total > 1 and warm_up < 1:
            assert values[total - 1] == approx(1e-4)

    def test_without_warm_up(self):
        values = rates(optim.OneCycle(1.0, total=11, warm_up=0), 11)
        assert values[0] == 1.0
        assert_falls(values)

    def test_warm_up_alone(self):
        values = rates(optim.OneCycle(1.0, total=11, warm_up=1), 11)
        assert values[10] == 1.0
        assert_falls(values[::-1])


class TestReduceOnPlateau:
    def test_before_any_epoch(self):
        assert optim.ReduceOnPlateau(0.3)(0) == optim.ReduceOnPlateau(0.3)(99, []) == 0.3

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"patience": 0},
            {"patience": 2, "factor": 0.5},
            {"patience": 1, "threshold": 0.1},
            {"patience": 0, "factor": 0.3, "min_lr": 0.05},
            {"patience": 0, "min_lr": 3.0},
        ],
        ids=str,
    )
    def test_as_pytorch(self, options):
        torch = pytest.importorskip("torch")
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        counterpart = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        schedule = optim.ReduceOnPlateau(1.0, **options)
        rng = np.random.default_rng(3)
        losses = [float(loss) for loss in np.exp(-np.arange(60) / 20) + 0.2 * rng.random(60)]
        losses[30] = float("nan")
        for epoch, loss in enumerate(losses, start=1):
            counterpart.step(loss)
            assert schedule(epoch, losses[:epoch]) == approx(optimizer.param_groups[0]["lr"])

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"factor": 1}, "factor must be.*got 1"),
            ({"factor": 0}, "factor must be.*got 0"),
            ({"patience": -1}, "patience must be.*got -1"),
            ({"threshold": -1}, "threshold must be.*got -1"),
            ({"min_lr": float("inf")}, "min_lr must be.*got inf"),
        ],
    )
    def test_settings_out_of_range(self, options, message):
        with pytest.raises(ValueError, match=message):
            optim.ReduceOnPlateau(0.1, **options)


SCHEDULES = [
    optim.Constant(0.1),
    optim.Step(0.1, 5),
    optim.Cosine(0.1, 20),
    optim.OneCycle(0.1, 20),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_depends_on_the_step_alone(schedule):
    """In any order, or from an equal schedule: a resumed run only needs the step."""
    forwards = rates(schedule, 30)
    assert [schedule(step) for step in reversed(range(30))] == forwards[::-1]
    assert rates(type(schedule)(**vars(schedule)), 30) == forwards
    assert all(type(value) is float for value in forwards)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_cannot_be_changed(schedule):
    with pytest.raises(FrozenInstanceError):
        schedule.lr = 1.0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: optim.Cosine(0.1, total=0), "total must be.*got 0"),
        (lambda: optim.OneCycle(0.1, total=-1), "total must be.*got -1"),
        (lambda: optim.OneCycle(0.1, total=10, warm_up=-0.1), "warm_up must be.*got -0.1"),
        (lambda: optim.OneCycle(0.1, total=10, warm_up=1.5), "warm_up must be.*got 1.5"),
        (lambda: optim.OneCycle(0.1, total=10, start_divisor=0), "start_divisor must be.*got 0"),
        (lambda: optim.OneCycle(0.1, total=10, final_divisor=0), "final_divisor must be.*got 0"),
        (lambda: optim.Step(0.1, every=1, gamma=1e200), "gamma must be.*got 1e[+]200"),
        (lambda: optim.Step(0.1, every=1, gamma=-0.1), "gamma must be.*got -0.1"),
        (lambda: optim.Cosine(0.1, total=10, final=-1), "final must be.*got -1"),
        (lambda: optim.Piecewise((0.1, -0.1), (5,)), "rates must be"),
        (lambda: optim.Piecewise((0.1, float("nan")), (5,)), "rates must be"),
    ],
)
def test_settings_out_of_range(make, message):
    """Raised by the constructor, not in the middle of a run."""
    with pytest.raises(ValueError, match=message):
        make()


class TestPiecewise:
    def test_changes_at_the_boundaries(self):
        assert rates(optim.Piecewise([3.0, 2.0, 1.0], [2, 3]), 6) == [3.0, 3.0, 2.0, 1.0, 1.0, 1.0]

    def test_of_one_rate(self):
        assert rates(optim.Piecewise([3.0], []), 3) == [3.0] * 3

    @pytest.mark.parametrize(
        "values, boundaries, message",
        [
            ([1.0, 2.0], [], "rates must have.*got 2 rates and 0 boundaries"),
            ([], [], "rates must have.*got 0 rates and 0 boundaries"),
            ([1.0], [3], "rates must have.*got 1 rates and 1 boundaries"),
            ([1.0, 2.0], [0], r"boundaries must be increasing.*got \(0,\)"),
            ([1.0, 2.0, 3.0], [4, 4], r"boundaries must be increasing.*got \(4, 4\)"),
        ],
    )
    def test_what_does_not_fit(self, values, boundaries, message):
        with pytest.raises(ValueError, match=message):
            optim.Piecewise(values, boundaries)

    def test_the_papers(self):
        """Twenty epochs, and more."""
        schedule = optim.Piecewise.paper1998(7)
        expected = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 10
        assert rates(schedule, 22 * 7) == [rate for rate in expected for _ in range(7)]

    def test_the_papers_needs_steps(self):
        with pytest.raises(ValueError, match="steps_per_epoch must be.*got 0"):
            optim.Piecewise.paper1998(0)
