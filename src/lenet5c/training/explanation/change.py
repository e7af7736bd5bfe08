"""The smallest change of an image that changes the predicted label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn.layer import positive
from lenet5c.training.explanation.pixels import Label, LevelPass, find_label, take_image
from lenet5c.training.model_file import TrainedModel

Doubles = NDArray[np.float64]
STEPS = 40
#: Classes that are tried at most, those nearest by the slopes at the image.
MOST_TARGETS = 9
#: Factors of a change, of which the smallest that turns the answer in whole gray levels is taken.
FACTORS = np.concatenate([np.linspace(0.9, 1.5, 61), np.geomspace(1.55, 6, 24)])
# Of the walk, as its paper has them: overshoot, most weight of the image, step back.
OVERSHOOT, MOST_PULL, BACK = 1.05, 0.1, 0.9
#: Steps that all classes take, and classes that go on.
SCOUTING, KEPT = 12, 3
#: Steps without the class after which the walk is drawn to the image no more.
PATIENCE = 4
#: Gray levels by which the walk aims beyond the boundary, so that rounding does not undo it.
BEYOND = 0.5
WHITE = 255.0


@dataclass(frozen=True, eq=False)
class Change:
    """A change of an image that changes the predicted label.

    Attributes
    ----------
    image : ndarray of uint8 (C, h, w)
        The changed image; the model's answer for it is `label`.
    difference : ndarray of int16 (C, h, w)
        The changed image minus the image, in gray levels.
    label : int
        The predicted class of the changed image.
    before : int
        The predicted class of the image.
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

    Gray levels stay from 0 to 255, and the result is in whole ones: `TrainedModel.predict` gives
    the new class for it. Smallest is by the Euclidean (L2) norm; a search by slopes finds no
    proof that there is none smaller.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The class to turn the answer to, by position or name. Default: any other.
    steps : int
        Of the search; more find changes a little smaller.

    Returns
    -------
    Change or None
        None if no change was found.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above, or `label` is the predicted class already.

    Notes
    -----
    Each step takes the difference of two logits as linear, as DeepFool does (Moosavi-Dezfooli et
    al., 2016), with the nearest point of the box of gray levels on the plane where it is 0; the
    walk along the boundary, towards the image, is that of Croce and Hein (2020), Minimally
    distorted adversarial examples with a fast adaptive boundary attack, which here begins once the
    class was reached. All classes walk as one batch.

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
    way = LevelPass(trained, pixels.shape[1:])
    if label is None:
        targets = _choose_targets(way, pixels, logits)
    else:
        targets = np.array([find_label(trained, label, logits)])
        if targets[0] == before:
            raise ValueError(
                f"label must differ from the predicted class, got {label!r}; omit it for the "
                "nearest class"
            )
    start = pixels.astype(np.float64).ravel()
    ends = _Walk(way, pixels.shape, targets).run(start, steps)
    target = None if label is None else int(targets[0])
    best: Change | None = None
    for end in ends:
        # Rounding, and a smaller multiple, change the norm by little.
        if best and best.norm < FACTORS[0] * float(np.sqrt(np.square(end - start).sum())):
            break
        change = _to_levels(trained, pixels, end, before, target)
        if change and (best is None or change.norm < best.norm):
            best = change
    return best


def _choose_targets(
    way: LevelPass, pixels: NDArray[np.uint8], logits: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the other classes, of many those that are nearest by the slopes at the image."""
    best, count = int(logits.argmax()), len(logits)
    others = np.delete(np.arange(count), best)
    if len(others) <= MOST_TARGETS:
        return others
    slopes = np.eye(count)[others] - np.eye(count)[best]
    levels = np.repeat(pixels[np.newaxis].astype(np.float64), len(others), axis=0)
    norms = np.sqrt(np.square(way.gradient(levels, slopes)).sum(axis=(1, 2, 3)))
    distances = (logits[best] - logits[others]) / np.maximum(norms, 1e-12)
    return others[np.argsort(distances, kind="stable")[:MOST_TARGETS]]


class _Walk:
    """A walk to the boundary of each of some classes, a row each, all of them at once."""

    def __init__(self, way: LevelPass, shape: tuple[int, ...], targets: NDArray[np.int64]) -> None:
        self.way, self.shape, self.targets = way, shape, targets

    def run(self, start: Doubles, steps: int) -> list[Doubles]:
        """Return the nearest point found of each class that was reached, the nearest class first.

        Of several classes, the nearest few walk on after some steps.
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
            # Back towards the image: the plane of the old point is still a good one.
            back = np.where(turned, BACK, 1.0)[:, np.newaxis]
            moved = start + back * (x - start)
            margin = margin + ((moved - x) * slope).sum(axis=1)
            margin -= BEYOND * np.sqrt(np.square(slope).sum(axis=1))
            x = moved
            to_plane = boundary_step(slope, margin, x)
            origin = margin + ((start - x) * slope).sum(axis=1)
            from_start = boundary_step(slope, origin, np.broadcast_to(start, x.shape))
            near, far = (np.sqrt(np.square(d).sum(axis=1)) for d in (to_plane, from_start))
            # Towards the image only where the class was reached lately: many are not by a straight
            # line, and some have other classes all around.
            since = np.where(turned, 0, since + 1)
            pull = np.minimum(near / np.maximum(near + far, 1e-12), MOST_PULL)
            pull = np.where(np.isfinite(least) & (since < PATIENCE), pull, 0)[:, np.newaxis]
            x = (1 - pull) * (x + OVERSHOOT * to_plane) + pull * (start + OVERSHOOT * from_start)
            x = np.clip(x, 0, WHITE)
        order = np.argsort(least, kind="stable")
        return list(best[order[: np.isfinite(least).sum()]])

    def measure(self, x: Doubles) -> tuple[Doubles, Doubles]:
        """Return the margin of each row's class over the best other one, and its gradient."""
        rows, images = np.arange(len(x)), x.reshape(-1, *self.shape)
        logits = self.way.logits(images).astype(np.float64)
        own = logits[rows, self.targets]
        logits[rows, self.targets] = -np.inf
        rival = logits.argmax(axis=1)
        dlogits = np.zeros(logits.shape, np.float32)
        dlogits[rows, self.targets], dlogits[rows, rival] = 1, -1
        slope = self.way.gradient(images, dlogits).reshape(len(x), -1)
        return own - logits[rows, rival], slope


def boundary_step(
    slope: Doubles, margin: Doubles, x: Doubles, low: float = 0.0, high: float = WHITE
) -> Doubles:
    """Return the smallest step from each row of x to where a linear function is 0, within bounds.

    Parameters
    ----------
    slope : ndarray of float64 (B, n)
        Gradient of the function.
    margin : ndarray of float64 (B,)
        Its value at x.
    x : ndarray of float64 (B, n)
        Within the bounds.
    low, high : float
        Of each element of x plus the step.

    Returns
    -------
    ndarray of float64 (B, n)
        Where the function is 0 nowhere within the bounds, the step to where it is nearest to it.

    Notes
    -----
    The step is ``clip(t * slope, low - x, high - x)`` for one t, of the sign that ``-margin`` has.
    The function along it is concave in the size of t, with a corner where an element comes to its
    bound, so that Newton's method goes from corner to corner and never too far.

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
    """Return the least multiple of a change that turns the answer in whole gray levels.

    To the target, or to any other class if that is None.
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
        # By itself an image may have other last digits than in a batch.
        label = int(trained.predict(images[i])[0])
        if label != before if target is None else label == target:
            return Change(images[i], differences[i], label, before)
    return None
