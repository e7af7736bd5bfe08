"""Residuals in a plan: ops, fusion, and places in the arena without conflicts."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from case_names import name_of
from one_test import in_one_test

from lenet5c.kernels.engine.branches import Add, Fork, Residual, Turn
from lenet5c.kernels.engine.lowering import LANES, lower
from lenet5c.kernels.engine.ops import (
    Activation,
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Linear,
    MaxPool2d,
)

RELU, TANH, GELU = Activation("relu"), Activation("tanh"), Activation("gelu", (0.0,))


def conv(channels=3, size=1, padding=0):
    return Conv2d(0, None, channels, (size, size), padding=(padding, padding))


def max_pool(stride):
    return MaxPool2d((2, 2), (stride, stride))


def residual(layers, shortcut=()):
    return Residual(list(layers), list(shortcut))


def kinds(plan):
    return [op.kind for op in plan.ops]


def masks(op):
    return getattr(op, "mask", False)


def test_the_ops_of_a_residual():
    plan = lower((3, 4, 4), [residual([conv(), RELU, conv()])])
    assert kinds(plan) == ["fork", "conv2d", "conv2d", "add"]
    plan = lower((3, 4, 4), [residual([conv(4), RELU], [conv(4)]), Flatten(), RELU])
    assert kinds(plan) == ["fork", "conv2d", "turn", "conv2d", "add"]
    assert [op.relu for op in plan.ops] == [False, True, False, False, True]


def test_of_features():
    plan = lower((7,), [residual([Linear(0, None, 7)])])
    assert kinds(plan) == ["fork", "linear", "add"]
    assert plan.output_shape == (7,)


def test_different_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"shape of the layers, \(4, 4, 4\), got \(3, 4, 4\)"):
        lower((3, 4, 4), [residual([conv(4)])])


@pytest.mark.parametrize("after", [RELU, max_pool(2)], ids=["relu", "pool"])
def test_nothing_before_a_fork_is_taken_in(after):
    """The shortcut reads the unmodified output of the convolution."""
    shortcut = [max_pool(2)] if after is not RELU else []
    plan = lower((3, 4, 4), [conv(), residual([after], shortcut)])
    first = plan.ops[0]
    assert not (first.relu or first.pool or first.mask)


def test_a_rectifier_before_a_fork_is():
    first, fork, *_ = lower((3, 4, 4), [conv(), RELU, residual([conv()])]).ops
    assert first.relu and first.mask and isinstance(fork, Fork)


def test_a_pooling_after_a_rectified_sum_masks_its_gradient():
    *_, add, pool = lower((3, 4, 4), [residual([conv()]), RELU, max_pool(2)]).ops
    assert (add.relu, add.mask, pool.mask) == (True, False, True)


@pytest.mark.parametrize(
    "layers, shortcut, in_place",
    [
        ([conv()], [], True),
        ([conv(), RELU], [], False),  # the gradient of the rectifier looks at its output
        ([conv(), TANH], [], False),
        ([conv(), GELU], [], True),
        ([conv()], [conv()], True),
        ([conv()], [conv(), RELU], False),
        ([conv(), RELU], [conv()], True),
        ([RELU], [], False),  # and the fork's value is read by the sum
        ([conv(), Flatten()], [Flatten()], False),
        ([residual([conv()])], [], True),
    ],
    ids=name_of,
)
def test_a_sum_in_place(layers, shortcut, in_place):
    plan = lower((3, 4, 4), [TANH, residual(layers, shortcut), RELU])
    add = plan.ops[-1]
    assert isinstance(add, Add)
    assert (add.x == add.y) is in_place
    assert_no_value_is_lost(plan)


def reads(op):
    """Return the places whose values the backward pass of an op still needs."""
    if op.pool:
        return {op.x, op.argmax}
    if op.kind in ("conv2d", "linear"):
        return {op.x, op.y} if masks(op) else {op.x}
    if op.kind == "add":
        return {op.y} if masks(op) else set()
    if op.kind in ("fork", "turn", "pad2d"):
        return set()
    if op.kind.endswith("avg_pool2d"):
        return {op.x} if masks(op) else set()
    if op.kind.endswith("max_pool2d"):
        return {op.x, op.y}
    return {op.x} if op.kind == "gelu" else {op.y}


def assert_no_value_is_lost(plan):
    """Run the plan symbolically, with a name for each value, forward and backward."""
    values, wanted = {0: "input"}, []
    made = {}  # by op: the value of its input, of a second one, and of its output
    forks = {}
    for i, op in enumerate(plan.ops):
        inputs = [values[op.x]]
        if isinstance(op, Fork):
            forks[op] = values[op.x]
        elif isinstance(op, Turn):
            assert values[op.x] == forks[op.fork]
        elif isinstance(op, Add):
            assert op.other == (op.turn.end if op.turn else op.fork.x)
            inputs.append(values[op.other])
            if not op.turn:
                assert inputs[1] == forks[op.fork]
        if not isinstance(op, (Fork, Turn)):
            values[op.y] = f"{op.kind} {i}"
            if op.pool:
                values[op.argmax] = f"argmax {i}"
        wanted.append({place: values[place] for place in reads(op)})
        made[op] = (*inputs, values[op.y])
    assert values[0] == "input"
    for op, places in zip(plan.ops, wanted, strict=True):
        assert all(values[place] == value for place, value in places.items()), op.kind
    # Gradients: of which value, and by whose way, each place has one.
    gradients = {plan.output: {made[plan.ops[-1]][-1]}}
    for op in reversed(plan.ops):
        x, *_, y = made[op]
        if isinstance(op, Add):
            assert y in gradients[op.y]
            # In place, they are the same numbers, by either name.
            gradients[op.x] = {x} | (gradients[op.y] if op.x == op.y else set())
            if op.turn:
                gradients[op.other] = {made[op][1]}
        elif isinstance(op, Turn):
            assert gradients[op.x] == {x}
            gradients[op.other] = {f"{x} by the shortcut"}
        elif isinstance(op, Fork):
            assert x in gradients[op.x]
            add = next(each for each in plan.ops if isinstance(each, Add) and each.fork is op)
            expected = f"{x} by the shortcut" if add.turn else made[add][-1]
            assert expected in gradients[op.other]
        else:
            assert y in gradients[op.y], op.kind
            gradients[op.x] = {x}
    sizes = {0: prod(plan.input_shape) * LANES}
    for op in plan.ops:
        sizes[op.y] = prod(op.out_shape) * LANES
        if op.pool:
            sizes[op.argmax] = sizes[op.y]
        if isinstance(op, Turn):
            sizes[op.other] = prod(op.in_shape) * LANES
    ends = [0, *(start + size for start, size in sorted(sizes.items()))]
    assert sorted(sizes) == ends[:-1]
    assert plan.arena_floats == ends[-1]


def random_layers(rng, depth):
    """Draw layers that keep (3, H, W)."""
    layers = []
    for _ in range(rng.integers(1, 4)):
        which = rng.integers(9 if depth else 8)
        if which == 8:
            chains = [random_layers(rng, depth - 1) for _ in range(rng.integers(1, 3))]
            layers.append(residual(*chains))
        else:
            layers.append(
                [
                    *(RELU, TANH, GELU, conv(), conv(3, 3, 1), Flatten()),
                    MaxPool2d((3, 3), (1, 1), (1, 1)),
                    AvgPool2d((3, 3), (1, 1), (1, 1)),
                ][which]
            )
    return [each for each in layers if not isinstance(each, Flatten)] or [RELU]


@in_one_test
@pytest.mark.parametrize("seed", range(100))
def test_no_value_of_a_random_net_is_lost(seed):
    rng = np.random.default_rng(seed)
    layers = [residual(random_layers(rng, 2), *([random_layers(rng, 1)] if seed % 2 else []))]
    layers = [*random_layers(rng, 0), *layers, *random_layers(rng, 2), max_pool(2)]
    plan = lower((3, 8, 8), layers)
    assert_no_value_is_lost(plan)


@in_one_test
@pytest.mark.parametrize("seed", range(20))
def test_the_way_of_a_sample_has_room_for_every_value(seed):
    rng = np.random.default_rng(seed)
    plan = lower((3, 8, 8), [residual(random_layers(rng, 2), random_layers(rng, 1)), RELU]).sample
    places = {0: 3 * 64}
    for step in plan.steps:
        if step.y not in places:
            channels, *image = step.op.inner_shape
            lanes = LANES if step.kind == "tile" else 1
            blocked = LANES * -(-channels // LANES) if lanes == 1 else LANES * channels
            size = channels if step.kind in ("linear", "sample", "plain") else blocked
            places[step.y] = size * prod(image)
        if isinstance(step.op, Turn):
            places[step.op.other] = LANES * prod(step.op.out_shape)
    spans = sorted((start, start + size) for start, size in places.items())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[-1][1] <= plan.arena_floats


@pytest.mark.parametrize("pool", [GlobalAvgPool2d, GlobalMaxPool2d])
def test_global_pooling(pool):
    plan = lower((3, 5, 7), [conv(4), RELU, pool()])
    first, op = plan.ops
    assert plan.output_shape == (4, 1, 1)
    assert (op.in_shape, op.kernel_size, op.work) == ((4, 5, 7), (5, 7), 140)
    assert (first.relu, first.mask, op.mask) == (True, False, True)
