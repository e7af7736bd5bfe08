"""Learning-rate schedules: functions of the step, and of the run's history, so that nothing of them needs saving."""

from bisect import bisect_right
from dataclasses import dataclass
from math import cos, isfinite, pi


@dataclass(frozen=True)
class Constant:
    """Always `lr`."""

    lr: float

    def __call__(self, step):
        return self.lr


@dataclass(frozen=True)
class Step:
    """`lr`, times `gamma` after every `every` steps.

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

    def __post_init__(self):
        _check_at_least_one("every", self.every)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma!r}; it should be more than 0 and at most 1")

    def __call__(self, step):
        return self.lr * self.gamma ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """From `lr` at step 0 along half a cosine to `final` at the last of `total` steps and after."""

    lr: float
    total: int
    final: float = 0.0

    def __post_init__(self):
        _check_at_least_one("total", self.total)
        if not (self.final >= 0 and isfinite(self.final)):
            raise ValueError(f"final is {self.final!r}; it should be a number of at least 0")

    def __call__(self, step):
        return _anneal(self.lr, self.final, step / max(self.total - 1, 1))


@dataclass(frozen=True)
class OneCycle:
    """Up from `lr` / `start_divisor` to `lr` and down to `lr` / `final_divisor`, along cosines (Smith and Topin, 2019).

    Parameters
    ----------
    lr : float
        The peak.
    total : int
        Steps in all.
    warm_up : float
        Share of the steps before the peak.
    start_divisor, final_divisor : float
    """

    lr: float
    total: int
    warm_up: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self):
        _check_at_least_one("total", self.total)
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up!r}; it should be a share, 0 to 1")
        for name in ("start_divisor", "final_divisor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it should be more than 0")

    def __call__(self, step):
        last = max(self.total - 1, 1)
        peak = self.warm_up * last
        if step < peak:
            return _anneal(self.lr / self.start_divisor, self.lr, step / peak)
        return _anneal(
            self.lr,
            self.lr / self.final_divisor,
            (step - peak) / (last - peak) if last > peak else 0,
        )


@dataclass(frozen=True)
class ReduceOnPlateau:
    """`lr`, times `factor` whenever the validation loss has not fallen for more than `patience` epochs.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` with its defaults, but a function of the losses so far: a resumed
    run, which has them in its history, goes on alike.

    Parameters
    ----------
    lr : float
    factor : float
        More than 0, less than 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold : float
        A loss improves the best one if it is lower by more than this share of it.
    min_lr : float
        No lower than this.

    Examples
    --------
    >>> from lenet5c import optim
    >>> schedule = optim.ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> schedule(step=0), schedule(step=300, losses=[0.9, 0.5, 0.6]), schedule(step=400, losses=[0.9, 0.5, 0.6, 0.7])
    (0.1, 0.1, 0.05)
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_lr: float = 0.0

    def __post_init__(self):
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor!r}; it should be more than 0 and less than 1")
        if not self.patience >= 0:
            raise ValueError(f"patience is {self.patience!r}; it should be at least 0 epochs")
        for name in ("threshold", "min_lr"):
            if not (getattr(self, name) >= 0 and isfinite(getattr(self, name))):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it should be a number of at least 0"
                )

    def __call__(self, step, losses=()):
        """The rate of a step, given the validation loss of each epoch before it."""
        lr, best, bad = self.lr, float("inf"), 0
        for loss in losses:
            improved = loss < best * (1 - self.threshold)
            best, bad = (loss, 0) if improved else (best, bad + 1)
            if bad > self.patience:
                reduced = max(lr * self.factor, self.min_lr)
                # As PyTorch's, it leaves changes of less than 1e-8 be.
                lr, bad = reduced if lr - reduced > 1e-8 else lr, 0
        return lr


@dataclass(frozen=True)
class Piecewise:
    """One rate after another: ``rates[i]`` until step ``boundaries[i]``, the last one from the last boundary on.

    Parameters
    ----------
    rates : sequence of float
    boundaries : sequence of int
        Rising, each at least 1; one fewer than the rates.

    Examples
    --------
    >>> from lenet5c import optim
    >>> schedule = optim.Piecewise(rates=(0.1, 0.02), boundaries=(100,))
    >>> schedule(99), schedule(100)
    (0.1, 0.02)
    """

    rates: tuple[float, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "rates", tuple(self.rates))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        if len(self.rates) != len(self.boundaries) + 1:
            raise ValueError(
                f"rates has {len(self.rates)} values and boundaries {len(self.boundaries)}; it should have one more"
            )
        if not all(rate >= 0 and isfinite(rate) for rate in self.rates):
            raise ValueError(f"rates is {self.rates}; they should be numbers of at least 0")
        if any(b <= a for a, b in zip((0, *self.boundaries), self.boundaries, strict=False)):
            raise ValueError(f"boundaries is {self.boundaries}; they should rise, from at least 1")

    @classmethod
    def paper1998(cls, steps_per_epoch):
        """Eta of LeCun et al. (1998), for `SDLM`: 0.0005 in passes 1 and 2, 0.0002 in 3 to 5, 0.0001 in 6 to 8, 0.00005
        in 9 to 12, and 0.00001 from 13 on (the paper's end with 20).

        Parameters
        ----------
        steps_per_epoch : int
            One for each training image in the paper.

        Examples
        --------
        >>> from lenet5c import optim
        >>> schedule = optim.Piecewise.paper1998(60_000)
        >>> [schedule(60_000 * (number - 1)) for number in (1, 3, 6, 9, 13)]
        [0.0005, 0.0002, 0.0001, 5e-05, 1e-05]
        """
        _check_at_least_one("steps_per_epoch", steps_per_epoch)
        return cls(
            (5e-4, 2e-4, 1e-4, 5e-5, 1e-5),
            tuple(passes * steps_per_epoch for passes in (2, 5, 8, 12)),
        )

    def __call__(self, step):
        return self.rates[bisect_right(self.boundaries, step)]


def _check_at_least_one(name, steps):
    if steps < 1:
        raise ValueError(f"{name} is {steps!r}; it should be at least 1 step")


def _anneal(start, end, share):
    share = min(max(share, 0.0), 1.0)
    return end + (start - end) * (1 + cos(pi * share)) / 2
