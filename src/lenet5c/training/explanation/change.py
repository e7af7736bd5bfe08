"""Smallest change of an image that changes the predicted label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn.layer import positive
from lenet5c.training.explanation.pixels import Label, LevelPass, find_label, take_image
from lenet5c.training.model_file import TrainedModel

Doubles = NDArray[np.float64]
STEPS = 40
#: Maximum number of classes to try, the nearest by linear approximation.
MAX_TARGETS = 9
#: Factors of a change; the smallest that changes the label after rounding to gray levels is used.
FACTORS = np.concatenate([np.linspace(0.9, 1.5, 61), np.geomspace(1.55, 6, 24)])
# Parameters of the search as in its paper: overshoot, maximum weight of the image, backward step.
OVERSHOOT, MAX_PULL, BACK = 1.05, 0.1, 0.9
#: Steps for all classes, and number of classes to continue.
SCOUTING, KEPT = 12, 3
#: Steps without reaching the class after which the search is no longer biased to the image.
PATIENCE = 4
#: Gray levels beyond the boundary to aim for, so that rounding does not undo the change.
BEYOND = 0.5
WHITE = 255.0


@dataclass(frozen=True, eq=False)
class Change:
    """A change of an image that changes the predicted label.

    Attributes
    ----------
    image : ndarray of uint8 (C, h, w)
        The changed image, whose predicted label is `label`.
    difference : ndarray of int16 (C, h, w)
        The changed image minus the image, in gray levels.
    label : int
        Predicted label of the changed image.
    before : int
        Predicted label of the original image.
    """

    image: NDArray[np.uint8]
    difference: NDArray[np.int16]
    label: int
    before: int

    @property
    def norm(self) -> float:
        """Euclidean (L2) norm of the difference, in gray levels."""
        return float(np.sqrt(np.square(self.difference, dtype=np.float64).sum()))

    @property
    def largest(self) -> int:
        """Largest change of a pixel, in gray levels."""
        return int(np.abs(self.difference).max())

    @property
    def pixels(self) -> int:
        """Number of changed pixels."""
        return int((self.difference != 0).any(axis=0).sum())


def smallest_change(
    trained: TrainedModel, image: ArrayLike, label: Label = None, *, steps: int = STEPS
) -> Change | None:
    """Search for the smallest change of an image that changes the predicted label.

    The result has integer gray levels from 0 to 255, and `TrainedModel.predict` returns the new
    class for it. The Euclidean (L2) norm of the change is minimized by a gradient-based search,
    which does not guarantee the global minimum.

    Parameters
    ----------
    trained : TrainedModel
        Model with any `Sequential`.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The target class, by index or name. Default: any other class.
    steps : int
        Number of search steps; more steps find slightly smaller changes.

    Returns
    -------
    Change or None
        None if no change was found.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or `label` is the predicted class.

    Notes
    -----
    Each step linearizes the difference of two logits, as in DeepFool (Moosavi-Dezfooli et al.,
    2016), and moves to the nearest point where it is 0, within the range of gray levels. After the
    class is reached, the search moves along the boundary towards the image as in Croce and Hein
    (2020), Minimally distorted adversarial examples with a fast adaptive boundary attack. All
    classes are processed as one batch.

    Reference: `lenet5c.reference.boundary_step`.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import smallest_change
    >>> from lenet5c.training import open_model
    >>> trained, image = open_model(), mnist()[1].images[0]
    >>> change = smallest_change(trained, image)
    >>> trained.predict(image)[0] == change.before, trained.predict(change.image)[0] == change.label
    (np.True_, np.True_)
    """
    steps = positive("steps", steps)
    pixels = take_image(trained, image)
    logits = trained.logits(pixels[np.newaxis])[0]
    before = int(logits.argmax())
    net = LevelPass(trained, pixels.shape[1:])
    if label is None:
        targets = _choose_targets(net, pixels, logits)
    else:
        targets = np.array([find_label(trained, label, logits)])
        if targets[0] == before:
            raise ValueError(
                f"label must differ from the predicted class, got {label!r}; omit it for the "
                "nearest class"
            )
    start = pixels.astype(np.float64).ravel()
    ends = _Walk(net, pixels.shape, targets).run(start, steps)
    target = None if label is None else int(targets[0])
    best: Change | None = None
    for end in ends:
        # Rounding and a smaller multiple change the norm only slightly.
        if best and best.norm < FACTORS[0] * float(np.sqrt(np.square(end - start).sum())):
            break
        change = _to_levels(trained, pixels, end, before, target)
        if change and (best is None or change.norm < best.norm):
            best = change
    return best


def _choose_targets(
    net: LevelPass, pixels: NDArray[np.uint8], logits: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the other classes, or the nearest ones by linear approximation if there are many."""
    best, count = int(logits.argmax()), len(logits)
    others = np.delete(np.arange(count), best)
    if len(others) <= MAX_TARGETS:
        return others
    slopes = np.eye(count)[others] - np.eye(count)[best]
    levels = np.repeat(pixels[np.newaxis].astype(np.float64), len(others), axis=0)
    norms = np.sqrt(np.square(net.gradient(levels, slopes)).sum(axis=(1, 2, 3)))
    distances = (logits[best] - logits[others]) / np.maximum(norms, 1e-12)
    return others[np.argsort(distances, kind="stable")[:MAX_TARGETS]]


class _Walk:
    """Search for the boundaries of several classes at once, one row for each."""

    def __init__(self, net: LevelPass, shape: tuple[int, ...], targets: NDArray[np.int64]) -> None:
        self.net, self.shape, self.targets = net, shape, targets

    def run(self, start: Doubles, steps: int) -> list[Doubles]:
        """Return the nearest point of each class that was reached, the nearest class first.

        After some steps, only the nearest few classes are continued.
        """
        count = len(self.targets)
        x = np.repeat(start[np.newaxis], count, axis=0)
        best, least, since = x.copy(), np.full(count, np.inf), np.zeros(count)
        for step in range(steps):
            if step == SCOUTING and np.isfinite(least).sum() >= KEPT:
                kept = np.sort(np.argsort(least, kind="stable")[:KEPT])
                x, best, least, since = (each[kept] for each in (x, best, least, since))
                self.targets = self.targets[kept]
            margin, slope = self.measure(x)
            turned = margin > 0
            apart = np.sqrt(np.square(x - start).sum(axis=1))
            nearer = turned & (apart < least)
            best[nearer], least[nearer] = x[nearer], apart[nearer]
            # Back towards the image: the plane of the previous point is still a good approximation.
            back = np.where(turned, BACK, 1.0)[:, np.newaxis]
            moved = start + back * (x - start)
            margin = margin + ((moved - x) * slope).sum(axis=1)
            margin -= BEYOND * np.sqrt(np.square(slope).sum(axis=1))
            x = moved
            to_plane = boundary_step(slope, margin, x)
            origin = margin + ((start - x) * slope).sum(axis=1)
            from_start = boundary_step(slope, origin, np.broadcast_to(start, x.shape))
            near, far = (np.sqrt(np.square(d).sum(axis=1)) for d in (to_plane, from_start))
            # Towards the image only if the class was reached recently: many classes cannot be
            # reached on a straight line, and some are surrounded by other classes.
            since = np.where(turned, 0, since + 1)
            pull = np.minimum(near / np.maximum(near + far, 1e-12), MAX_PULL)
            pull = np.where(np.isfinite(least) & (since < PATIENCE), pull, 0)[:, np.newaxis]
            x = (1 - pull) * (x + OVERSHOOT * to_plane) + pull * (start + OVERSHOOT * from_start)
            x = np.clip(x, 0, WHITE)
        order = np.argsort(least, kind="stable")
        return list(best[order[: np.isfinite(least).sum()]])

    def measure(self, x: Doubles) -> tuple[Doubles, Doubles]:
        """Return the margin of each row's class over the best other class, and its gradient."""
        rows, images = np.arange(len(x)), x.reshape(-1, *self.shape)
        logits = self.net.logits(images).astype(np.float64)
        own = logits[rows, self.targets]
        logits[rows, self.targets] = -np.inf
        rival = logits.argmax(axis=1)
        dlogits = np.zeros(logits.shape, np.float32)
        dlogits[rows, self.targets], dlogits[rows, rival] = 1, -1
        slope = self.net.gradient(images, dlogits).reshape(len(x), -1)
        return own - logits[rows, rival], slope


def boundary_step(
    slope: Doubles, margin: Doubles, x: Doubles, low: float = 0.0, high: float = WHITE
) -> Doubles:
    """Return the smallest step from each row of x to a zero of a linear function, within bounds.

    Parameters
    ----------
    slope : ndarray of float64 (B, n)
        Gradient of the function.
    margin : ndarray of float64 (B,)
        Value of the function at x.
    x : ndarray of float64 (B, n)
        Points within the bounds.
    low, high : float
        Bounds of each element of x plus the step.

    Returns
    -------
    ndarray of float64 (B, n)
        The steps. If the function has no zero within the bounds, the step to its value closest to
        0.

    Notes
    -----
    The step is ``clip(t * slope, low - x, high - x)`` for a scalar t with the sign of ``-margin``.
    Along it, the function is concave and piecewise linear in abs(t), with a corner where an element
    reaches its bound, so that Newton's method moves from corner to corner and never overshoots.

    Reference: `lenet5c.reference.boundary_step`.
    """
    direction = np.where(margin > 0, -1.0, 1.0)[:, np.newaxis] * slope
    size = np.abs(direction)
    room = np.where(direction > 0, high - x, x - low)
    squares, most, wanted = size**2, size * room, np.abs(margin)
    t, stuck = np.zeros(len(x)), np.zeros(len(x), bool)
    for _ in range(x.shape[1] + 1):
        moving = size * t[:, np.newaxis] < room
        rate = np.where(moving, squares, 0).sum(axis=1)
        given = t * rate + np.where(moving, 0, most).sum(axis=1)
        lack, before = wanted - given, t
        stuck |= (rate <= 0) & (lack > 0)
        t = t + np.divide(lack, rate, out=np.zeros(len(x)), where=rate > 0)
        if (t <= before * (1 + 1e-12)).all():
            break
    step = np.minimum(size * t[:, np.newaxis], room)
    return np.sign(direction) * np.where(stuck[:, np.newaxis], room, step)


def _to_levels(
    trained: TrainedModel, pixels: NDArray[np.uint8], end: Doubles, before: int, target: int | None
) -> Change | None:
    """Return the smallest multiple of a change that, rounded, changes the predicted label.

    The new label is the target, or any other class if that is None.
    """
    start = pixels.astype(np.float64)
    factors = FACTORS[:, np.newaxis, np.newaxis, np.newaxis]
    whole = np.rint(start + factors * (end.reshape(pixels.shape) - start))
    images = np.clip(whole, 0, WHITE).astype(np.uint8)
    differences = images.astype(np.int16) - pixels.astype(np.int16)
    norms = np.square(differences, dtype=np.float64).sum(axis=(1, 2, 3))
    predicted = trained.predict(images)
    turned = predicted != before if target is None else predicted == target
    for i in np.flatnonzero(turned)[np.argsort(norms[turned], kind="stable")]:
        # The rounding of a single image may differ from that in a batch.
        label = int(trained.predict(images[i])[0])
        if label != before if target is None else label == target:
            return Change(images[i], differences[i], label, before)
    return None
