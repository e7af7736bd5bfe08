"""Comparison of gradients with finite differences, and classification of errors."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count
from lenet5c.nn.float64 import to_float64
from lenet5c.nn.gradient_probe import INPUT, Probe, Slope
from lenet5c.nn.gradient_table import GradientRow
from lenet5c.nn.layer import Layer, Shape

Array = NDArray[Any]
Doubles = NDArray[np.float64]
Gradients = dict[str, Array | None]

OK = "ok"
#: Smallest relative error that counts as wrong, in float64 and in float32.
LIMIT, LIMIT32 = 1e-6, 1e-3
#: Relative rounding error of a loss above which the layer computes partly in float32.
ROUGH = 1e-12
#: Errors of gradients smaller than this fraction of the largest are relative to that fraction.
SMALL = 0.01
#: Fractions of the step to try if slope and gradient disagree, as they do across a kink.
STEPS = (1.0, 0.1, 0.01, 0.001)
#: Fraction of their size by which parameters are perturbed before the check.
AWAY = 0.1
#: Maximum relative difference between gradients with the same kind of error.
ALIKE = 1e-2


def judge(
    layer: Layer, x: Array, most: int, generator: np.random.Generator
) -> tuple[list[GradientRow], list[str]]:
    """Return the rows and the notes of `lenet5c.nn.check_gradients`."""
    layer = copy.deepcopy(layer)
    for _, each in layer.named_layers():
        for array in each.params.values():
            size = float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
            array += AWAY * (size or 1) * generator.standard_normal(array.shape, np.float32)
    # Both precisions must be evaluated at the same point.
    x = x.astype(np.float32) if x.dtype.kind == "f" else x
    notes: list[str] = []
    numbers = np.random.get_state()
    try:
        probe = Probe(to_float64(layer), x, np.float64, generator)
    except (TypeError, ValueError, NotImplementedError) as error:
        np.random.set_state(numbers)
        # Raises errors of the layer itself.
        probe = Probe(layer, x, np.float32, generator)
        notes = [f"Checked in float32 only, because float64 failed: {error}"]
    else:
        if probe.rounding > ROUGH:
            notes = ["Checked with larger steps, because part of the layer computes in float32."]
    gradients = probe.gradients()
    rows = [_judge_array(probe, name, gradients[name], most) for name in probe.arrays]
    if probe.dtype is np.float64 and all(row.ok for row in rows):
        np.random.set_state(numbers)
        single = Probe(layer, x, np.float32, generator)
        single.dy = probe.dy.astype(np.float32)
        rows = _judge_float32(rows, single.gradients(), probe, gradients)
    return rows, [*notes, *probe.notes]


def _judge_array(probe: Probe, name: str, gradient: Array | None, most: int) -> GradientRow:
    """Return the row of one array, based on differences only."""
    shape = probe.arrays[name].shape
    if fault := _find_formal_fault(name, gradient, shape):
        return GradientRow(name, shape, np.nan, None, None, fault, False)
    a = np.asarray(gradient, np.float64).ravel()
    if not a.size:
        return GradientRow(name, shape, 0.0, None, None, OK, True)
    places = np.arange(a.size)
    if a.size > most:
        places = np.sort(probe.generator.choice(a.size, most, replace=False))
    limit = LIMIT if probe.rounding <= ROUGH else LIMIT32
    one = np.ones(1)
    slopes = [probe.slope(name, place, one) for place in places[:, None]]
    n = np.array([slope.mean for slope in slopes])
    small = SMALL * float(np.abs(n).max())
    judged = [
        _judge_slope(probe, name, place, one, a, small, limit, slope)
        for place, slope in zip(places[:, None], slopes, strict=True)
    ]
    if a.size > most and (place := _find_wrong(probe, name, a, n, limit)) is not None:
        slope = probe.slope(name, place, one)
        small = SMALL * max(float(np.abs(n).max()), abs(slope.mean))
        judged.append(_judge_slope(probe, name, place, one, a, small, limit, slope))
        places, n = np.append(places, place), np.append(n, slope.mean)
    errors, wrong = (np.array(each) for each in zip(*judged, strict=True))
    worst = int(errors.argmax())
    found = tuple(int(i) for i in np.unravel_index(places[worst], shape))
    verdict = OK
    if wrong.any():
        verdict = _name_fault(probe, name, a, places, n, wrong)
    return GradientRow(name, shape, float(errors[worst]), found, None, verdict, not wrong.any())


def _judge_slope(
    probe: Probe,
    name: str,
    places: Array,
    signs: Doubles,
    a: Doubles,
    small: float,
    limit: float,
    slope: Slope,
) -> tuple[float, bool]:
    """Return the relative error of the gradient `a` along some elements, and True if it is wrong.

    `slope` is the slope of the full step; smaller steps are tried if it disagrees.
    """
    for factor in STEPS:
        slope = slope if factor == 1 else probe.slope(name, places, signs, factor)
        along = float(a[places] @ slope.direction)
        size = max(abs(along), abs(slope.mean), small)
        # The rounding error of the slope counts as much as an error at the limit.
        scale = max(size, slope.rounding / limit) or 1.0
        error = abs(along - slope.mean) / scale
        low, high = sorted((slope.left, slope.right))
        off = limit * scale
        at_kink = high - low > 2 * off and low - off <= along <= high + off
        if error <= limit or slope.rounding > SMALL * size:
            break
    # At a kink the one-sided slopes differ however small the step is.
    wrong = error > limit and not at_kink
    return (error if wrong else min(error, limit)), wrong


def _find_wrong(probe: Probe, name: str, a: Doubles, n: Doubles, limit: float) -> Array | None:
    """Return the index of a wrong element of a large array, None if all are right together."""
    places = np.arange(a.size)
    signs = probe.generator.choice([-1.0, 1.0], a.size)
    # Along a random direction, the elements add up like a random walk.
    small = max(float(np.linalg.norm(a)), float(np.sqrt(np.mean(n**2) * a.size)))
    slope = probe.slope(name, places, signs)
    if not _judge_slope(probe, name, places, signs, a, small, limit, slope)[1]:
        return None
    while len(places) > 1:
        halves = []
        for half in np.array_split(places, 2):
            slope = probe.slope(name, half, signs[half])
            halves.append((abs(float(a[half] @ slope.direction) - slope.mean), half))
        places = max(halves, key=lambda pair: pair[0])[1]
    return places


def _find_formal_fault(name: str, gradient: Array | None, shape: Shape) -> str:
    """Return the reason why `gradient` cannot be a gradient of this shape, or ''."""
    if gradient is None:
        return "backward returns None" if name == INPUT else "not set by backward"
    if np.shape(gradient) != shape:
        return f"has the shape {np.shape(gradient)}, must have {shape}"
    if not np.isfinite(gradient).all():
        return "not finite"
    return ""


def _name_fault(
    probe: Probe, name: str, a: Doubles, places: Array, n: Doubles, wrong: Array
) -> str:
    """Return the kind of error of a gradient `a` whose elements at some indices should be `n`."""
    at = a[places]
    largest = float(np.abs(n).max())

    def alike(one: Doubles, other: Doubles) -> bool:
        return bool((np.abs(one - other) <= ALIKE * max(float(np.abs(other).max()), 1e-300)).all())

    if not at.any():
        return "all zero"
    if name != INPUT and alike(at - probe.marks[name].ravel()[places], n):
        return "added to its previous value; set it instead"
    if largest and len(places) > 1:
        ratio = float(at @ n / (n @ n))
        if ratio and alike(at / ratio, n):
            if abs(ratio + 1) < ALIKE:
                return "has the opposite sign"
            mean = abs(ratio * len(probe.x) - 1) < ALIKE
            hint = ", the mean over the samples instead of the sum" if mean else ""
            return f"{ratio:.3g} times the correct value{hint}"
    shape = probe.arrays[name].shape
    square = len(shape) == 2 and shape[0] == shape[1] and len(places) == a.size
    if square and alike(a.reshape(shape).T.ravel()[places], n):
        return "transposed"
    return f"wrong in {int(wrong.sum()):,} of {count(len(places), 'element')}"


def _judge_float32(
    rows: list[GradientRow], single: Gradients, probe: Probe, gradients: Gradients
) -> list[GradientRow]:
    """Return the rows with the float32 gradients of the layer itself added.

    In addition to the limit, a float32 gradient may differ as much as the float64 gradient does
    between points that float32 barely distinguishes, such as the two sides of a kink.
    """
    sound = {row.name: np.asarray(gradients[row.name]) for row in rows}
    spread = {name: np.zeros(gradient.shape) for name, gradient in sound.items()}
    for moved in probe.neighbors():
        for name, most in spread.items():
            np.maximum(most, np.abs(np.asarray(moved[name]) - sound[name]), out=most)
    largest = max((float(np.abs(each).max(initial=0)) for each in sound.values()), default=0.0)
    judged = []
    for row in rows:
        found, exact = single[row.name], sound[row.name]
        if fault := _find_formal_fault(row.name, found, row.shape):
            judged.append(row._replace(verdict=f"{fault}, in float32", ok=False))
            continue
        off = np.abs(np.asarray(found, np.float64) - exact)
        scale = max(float(np.abs(exact).max(initial=0)), SMALL * largest) or 1.0
        row = row._replace(float32=float(off.max(initial=0)) / scale)
        if (off > LIMIT32 * scale + 2 * spread[row.name]).any():
            row = row._replace(verdict="differs in float32", ok=False)
        judged.append(row)
    return judged
