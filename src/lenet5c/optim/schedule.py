"""Learning-rate schedules: functions of the step and the history, without state."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any, Self, TypeVar

from lenet5c.optim.optimizer import check_not_negative, check_positive

__all__ = ["SCHEDULES", "Constant", "Cosine", "OneCycle", "Piecewise", "ReduceOnPlateau", "Step"]

#: Schedule classes by the name used in recipes.
SCHEDULES: dict[str, type[Any]] = {}
Kind = TypeVar("Kind", bound=type[Any])


def register(name: str) -> Callable[[Kind], Kind]:
    """Register a class in `SCHEDULES`."""

    def enter(cls: Kind) -> Kind:
        SCHEDULES[name] = cls
        return cls

    return enter


@register("constant")
@dataclass(frozen=True)
class Constant:
    """A constant learning rate."""

    lr: float

    def __call__(self, step: int) -> float:
        return self.lr


@register("step")
@dataclass(frozen=True)
class Step:
    """Step decay: the rate is multiplied by `gamma` every `every` steps.

    Examples
    --------
    >>> from lenet5c import optim
    >>> schedule = optim.Step(0.1, every=100, gamma=0.5)
    >>> schedule(0), schedule(99), schedule(100)
    (0.1, 0.1, 0.05)
    """

    lr: float
    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _check_steps("every", self.every)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be greater than 0 and at most 1, got {self.gamma!r}")

    def __call__(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.every)


@register("cosine")
@dataclass(frozen=True)
class Cosine:
    """Cosine annealing from `lr` at step 0 to `final` at the last of `total` steps and after."""

    lr: float
    total: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_steps("total", self.total)
        check_not_negative("final", self.final)

    def __call__(self, step: int) -> float:
        return _anneal(self.lr, self.final, step / max(self.total - 1, 1))


@register("one-cycle")
@dataclass(frozen=True)
class OneCycle:
    """One-cycle schedule with cosine annealing (Smith and Topin, 2019).

    The rate increases from ``lr / start_divisor`` to `lr`, then decreases to ``lr /
    final_divisor``.

    Parameters
    ----------
    lr : float
        Peak learning rate.
    total : int
        Total number of steps.
    warm_up : float
        Fraction of the steps before the peak.
    start_divisor, final_divisor : float
    """

    lr: float
    total: int
    warm_up: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        _check_steps("total", self.total)
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up must be a fraction from 0 to 1, got {self.warm_up!r}")
        check_positive("start_divisor", self.start_divisor)
        check_positive("final_divisor", self.final_divisor)

    def __call__(self, step: int) -> float:
        last = max(self.total - 1, 1)
        peak = self.warm_up * last
        if step < peak:
            return _anneal(self.lr / self.start_divisor, self.lr, step / peak)
        share = (step - peak) / (last - peak) if last > peak else 0
        return _anneal(self.lr, self.lr / self.final_divisor, share)


@register("reduce-on-plateau")
@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply the rate by `factor` if the validation loss does not improve for `patience` epochs.

    Like `torch.optim.lr_scheduler.ReduceLROnPlateau` with its defaults, but a function of the
    previous losses, which a resumed run has in its history.

    Parameters
    ----------
    lr : float
    factor : float
        Factor of the rate, greater than 0 and less than 1.
    patience : int
        Number of epochs without improvement to tolerate.
    threshold : float
        Relative decrease of the loss that counts as an improvement.
    min_lr : float
        Lower bound of the rate.

    Examples
    --------
    >>> from lenet5c import optim
    >>> schedule = optim.ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> schedule(step=0), schedule(300, [0.9, 0.5, 0.6]), schedule(400, [0.9, 0.5, 0.6, 0.7])
    (0.1, 0.1, 0.05)
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be greater than 0 and less than 1, got {self.factor!r}")
        if not self.patience >= 0:
            raise ValueError(f"patience must be at least 0 epochs, got {self.patience!r}")
        check_not_negative("threshold", self.threshold)
        check_not_negative("min_lr", self.min_lr)

    def __call__(self, step: int, losses: Sequence[float] = ()) -> float:
        """Return the rate of a step, given the validation losses of the previous epochs."""
        lr, best, bad = self.lr, float("inf"), 0
        for loss in losses:
            improved = loss < best * (1 - self.threshold)
            best, bad = (loss, 0) if improved else (best, bad + 1)
            if bad > self.patience:
                reduced = max(lr * self.factor, self.min_lr)
                # As in PyTorch, changes of less than 1e-8 are skipped.
                lr, bad = reduced if lr - reduced > 1e-8 else lr, 0
        return lr


@register("piecewise")
@dataclass(frozen=True)
class Piecewise:
    """Piecewise constant rate: ``rates[i]`` before step ``boundaries[i]``, then the last rate.

    Parameters
    ----------
    rates : sequence of float
    boundaries : sequence of int
        Increasing steps of at least 1; one fewer than the rates.

    Examples
    --------
    >>> from lenet5c import optim
    >>> schedule = optim.Piecewise(rates=(0.1, 0.02), boundaries=(100,))
    >>> schedule(99), schedule(100)
    (0.1, 0.02)
    """

    rates: tuple[float, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        if len(self.rates) != len(self.boundaries) + 1:
            raise ValueError(
                f"rates must have one more value than boundaries, got {len(self.rates)} rates and "
                f"{len(self.boundaries)} boundaries"
            )
        for rate in self.rates:
            check_not_negative("rates", rate)
        if any(b <= a for a, b in zip((0, *self.boundaries), self.boundaries, strict=False)):
            raise ValueError(f"boundaries must be increasing and at least 1, got {self.boundaries}")

    @classmethod
    def paper1998(cls, steps_per_epoch: int) -> Self:
        """Return the schedule of LeCun et al. (1998) for `SDLM`.

        The rate is 0.0005 in epochs 1 and 2, 0.0002 in epochs 3 to 5, 0.0001 in 6 to 8, 0.00005 in
        9 to 12, and 0.00001 from epoch 13 (20 is the last one in the paper).

        Parameters
        ----------
        steps_per_epoch : int
            Steps per epoch; in the paper, the number of training images.

        Examples
        --------
        >>> from lenet5c import optim
        >>> schedule = optim.Piecewise.paper1998(60_000)
        >>> [schedule(60_000 * (number - 1)) for number in (1, 3, 6, 9, 13)]
        [0.0005, 0.0002, 0.0001, 5e-05, 1e-05]
        """
        _check_steps("steps_per_epoch", steps_per_epoch)
        rates = (5e-4, 2e-4, 1e-4, 5e-5, 1e-5)
        return cls(rates, tuple(passes * steps_per_epoch for passes in (2, 5, 8, 12)))

    def __call__(self, step: int) -> float:
        return self.rates[bisect_right(self.boundaries, step)]


def _check_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name} must be at least 1 step, got {steps!r}")


def _anneal(start: float, end: float, share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return end + (start - end) * (1 + cos(pi * share)) / 2
