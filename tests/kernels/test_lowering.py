"""Lowering of layers to a plan: shapes, fusion, and places in the arena without conflicts."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from case_names import name_of
from lenet5c.kernels.engine._program import Program
from one_test import in_one_test

from lenet5c.kernels.engine.lowering import LANES, lower
from lenet5c.kernels.engine.ops import (
    Activation,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Rbf,
    Subsample2d,
)
from lenet5c.kernels.simd import dispatch

RELU, SIGMOID, TANH = (Activation(kind) for kind in ("relu", "sigmoid", "tanh"))
FLATTEN = Flatten()


def conv(out_channels, kernel_size, weight=0, bias=None, **settings):
    return Conv2d(weight, bias, out_channels, kernel_size, **settings)


def linear(out_features, weight=0, bias=None):
    return Linear(weight, bias, out_features)


def max_pool(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)):
    return MaxPool2d(kernel_size, stride, padding)


def avg_pool(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)):
    return AvgPool2d(kernel_size, stride, padding)


LENET5 = [
    conv(6, (5, 5), padding=(2, 2), weight=0, bias=150),
    RELU,
    max_pool(),
    conv(16, (5, 5), weight=156, bias=2556),
    RELU,
    max_pool(),
    FLATTEN,
    linear(120, weight=2572, bias=50572),
    RELU,
    linear(84, weight=50692, bias=60772),
    RELU,
    linear(10, weight=60856, bias=61696),
]


def masks(op):
    return getattr(op, "mask", False)


def kinds(plan):
    return [op.kind for op in plan.ops]


def test_lenet5():
    plan = lower((1, 28, 28), LENET5)
    assert [(op.kind, op.in_shape, op.out_shape, op.relu, masks(op)) for op in plan.ops] == [
        ("pad2d", (1, 28, 28), (1, 32, 32), False, False),
        ("conv2d", (1, 32, 32), (6, 14, 14), True, True),
        ("conv2d", (6, 14, 14), (16, 5, 5), True, True),
        ("linear", (1, 1, 400), (120, 1, 1), True, True),
        ("linear", (1, 1, 120), (84, 1, 1), True, True),
        ("linear", (1, 1, 84), (10, 1, 1), False, False),
    ]
    assert (plan.input_shape, plan.output_shape) == ((1, 28, 28), (10,))
    assert (plan.input_size, plan.output_size) == (784, 10)
    assert plan.param_extent == 61706
    assert [op.pool for op in plan.ops] == [False, True, True, False, False, False]
    assert [op.inner_shape for op in plan.ops[1:3]] == [(6, 28, 28), (16, 10, 10)]
    assert plan.first_trainable == 1  # the padding before it needs no gradient
    assert plan.output == plan.ops[-1].y


@pytest.mark.parametrize(
    "input_shape, layers, output_shape",
    [
        ((3, 7, 5), [conv(4, (3, 2))], (4, 5, 4)),
        ((3, 7, 5), [conv(4, (3, 2), stride=(2, 3))], (4, 3, 2)),
        ((3, 7, 5), [conv(4, (3, 2), padding=(1, 2))], (4, 7, 8)),
        ((3, 7, 5), [conv(4, (3, 2), dilation=(3, 4))], (4, 1, 1)),
        ((4, 7, 5), [conv(6, (1, 1), groups=2)], (6, 7, 5)),
        ((3, 7, 5), [conv(4, (7, 5))], (4, 1, 1)),
        ((3, 7, 5), [max_pool()], (3, 3, 2)),
        ((3, 7, 5), [max_pool((3, 2), (2, 1), (1, 1))], (3, 4, 6)),
        ((3, 7, 5), [avg_pool((7, 5), (1, 1))], (3, 1, 1)),
        ((3, 7, 5), [TANH], (3, 7, 5)),
        ((7,), [SIGMOID], (7,)),
        ((7,), [linear(3)], (3,)),
        ((3, 7, 5), [FLATTEN], (105,)),
        ((3, 7, 5), [FLATTEN, FLATTEN], (105,)),
        ((7,), [FLATTEN], (7,)),
        ((3, 7, 5), [FLATTEN, linear(2), RELU], (2,)),
        ((3, 7, 5), [conv(4, (7, 5)), FLATTEN, linear(2)], (2,)),
        ((3, 7, 5), [], (3, 7, 5)),
    ],
    ids=name_of,
)
def test_output_shape(input_shape, layers, output_shape):
    plan = lower(input_shape, layers)
    assert plan.output_shape == output_shape
    assert plan.output_size == prod(output_shape)
    assert not plan.ops or prod(plan.ops[-1].out_shape) == prod(output_shape)


def test_flatten_takes_no_op():
    assert lower((2, 3, 4), [FLATTEN]).ops == []
    assert kinds(lower((2, 3, 4), [FLATTEN, RELU, FLATTEN])) == ["relu"]


def test_nothing_to_run():
    plan = lower((2, 3, 4), [])
    assert (plan.output, plan.arena_floats, plan.param_extent, plan.first_trainable) == (
        0,
        24 * LANES,
        0,
        0,
    )


class TestFusion:
    @pytest.mark.parametrize(
        "input_shape, layer",
        [((3, 6, 6), conv(4, (3, 3))), ((3, 6, 6), conv(4, (6, 6))), ((9,), linear(4))],
        ids=name_of,
    )
    def test_relu_into_conv2d_and_linear(self, input_shape, layer):
        plan = lower(input_shape, [layer, RELU])
        (op,) = plan.ops
        assert op.relu and op.mask
        assert plan.output == op.y

    @pytest.mark.parametrize("activation", [SIGMOID, TANH], ids=name_of)
    def test_no_other_activation(self, activation):
        plan = lower((3, 6, 6), [conv(4, (3, 3)), activation])
        assert kinds(plan) == ["conv2d", activation.kind]
        assert not any(op.relu or masks(op) for op in plan.ops)

    @pytest.mark.parametrize(
        "layers", [[RELU], [max_pool(), RELU], [avg_pool(), RELU], [TANH, RELU]], ids=name_of
    )
    def test_not_into_other_ops(self, layers):
        plan = lower((3, 6, 6), layers)
        assert kinds(plan) == [layer.kind for layer in layers]
        assert not any(op.relu or masks(op) for op in plan.ops)

    def test_twice_is_once(self):
        (op,) = lower((9,), [linear(4), RELU, RELU]).ops
        assert op.relu and op.mask

    def test_through_flatten(self):
        """A Flatten between them is not an op: the ReLU still follows the convolution."""
        (op,) = lower((3, 6, 6), [conv(4, (3, 3)), FLATTEN, RELU]).ops
        assert op.relu and op.mask

    @pytest.mark.parametrize("relu", [[RELU], []], ids=name_of)
    def test_a_halving_max_pool_into_conv2d(self, relu):
        (op,) = lower((3, 6, 6), [conv(4, (3, 3)), *relu, max_pool()]).ops
        assert (op.pool, op.relu, op.mask) == (True, bool(relu), bool(relu))
        assert (op.inner_shape, op.out_shape) == ((4, 4, 4), (4, 2, 2))

    @pytest.mark.parametrize(
        "pool",
        [max_pool((2, 2), (1, 1)), max_pool((2, 2), (2, 2), (1, 1)), max_pool((3, 3)), avg_pool()],
        ids=name_of,
    )
    def test_no_other_pool(self, pool):
        assert not any(op.pool for op in lower((3, 6, 6), [conv(4, (3, 3)), pool]).ops)

    @pytest.mark.parametrize("pool", [max_pool(), avg_pool()], ids=name_of)
    def test_a_halving_pool_into_conv2d_where_no_gradient_is_wanted(self, pool):
        plan = lower((3, 6, 6), [conv(4, (3, 3)), RELU, pool])
        (op,) = plan.inference_ops
        assert (op.pool, op.relu, op.outputs_only) == (True, True, True)
        assert (op.average, op.y) == (pool.kind == "avg_pool2d", plan.output)
        assert not any(op.outputs_only for op in plan.ops if op.kind == "conv2d")

    @pytest.mark.parametrize(
        "layers",
        [
            [conv(4, (3, 3)), avg_pool((2, 2), (1, 1))],
            [conv(4, (3, 3)), TANH, avg_pool()],
            [conv(4, (1, 1)), avg_pool()],
            [conv(4, (3, 3)), max_pool(), avg_pool((2, 2), (2, 2))],
        ],
        ids=name_of,
    )
    def test_no_other_mean_where_no_gradient_is_wanted(self, layers):
        plan = lower((3, 6, 6), layers)
        assert [op.kind for op in plan.inference_ops] == kinds(plan)

    def test_an_odd_edge_keeps_the_pool_apart(self):
        assert kinds(lower((3, 7, 6), [conv(4, (3, 3)), max_pool()])) == ["conv2d", "max_pool2d"]

    @pytest.mark.parametrize(
        "pool", [max_pool((3, 3)), max_pool((3, 3), (1, 1), (1, 1))], ids=name_of
    )
    def test_max_pool_takes_the_gate(self, pool):
        before, after = lower((3, 6, 6), [conv(4, (3, 3)), RELU, pool]).ops
        assert (before.relu, before.mask, after.mask) == (True, False, True)

    @pytest.mark.parametrize(
        "layers",
        [
            [conv(4, (3, 3)), max_pool()],
            [conv(4, (3, 3)), max_pool(), RELU],
            [RELU, max_pool()],
            [max_pool()],
        ],
        ids=name_of,
    )
    def test_max_pool_without_a_rectified_input_has_no_gate(self, layers):
        assert not any(masks(op) for op in lower((3, 6, 6), layers).ops)

    def test_avg_pool_takes_the_gate(self):
        before, after = lower((3, 6, 6), [conv(4, (3, 3)), RELU, avg_pool()]).ops
        assert (before.relu, before.mask, after.mask) == (True, False, True)

    def test_only_the_next_max_pool_takes_the_gate(self):
        plan = lower((3, 9, 9), [conv(4, (2, 2)), RELU, max_pool((2, 2), (1, 1)), max_pool()])
        assert [masks(op) for op in plan.ops] == [False, True, False]

    def test_only_the_next_max_pool_is_taken_in(self):
        plan = lower((3, 9, 9), [conv(4, (2, 2)), RELU, max_pool(), max_pool()])
        assert [(op.kind, op.pool, masks(op)) for op in plan.ops] == [
            ("conv2d", True, True),
            ("max_pool2d", False, False),
        ]


class TestConvolutionAsWideAsTheImage:
    def test_is_linear(self):
        plan = lower((3, 4, 5), [conv(7, (4, 5), weight=11, bias=2)])
        (op,) = plan.ops
        assert (op.kind, op.in_shape, op.out_shape, op.kernel_size) == (
            "linear",
            (1, 1, 60),
            (7, 1, 1),
            (1, 60),
        )
        assert (op.weight, op.bias) == (11, 2)
        assert plan.param_extent == 11 + 7 * 60

    def test_with_padding_is_linear_on_the_padded_image(self):
        pad, op = lower((3, 4, 5), [conv(7, (6, 5), padding=(1, 0))]).ops
        assert (pad.kind, pad.out_shape) == ("pad2d", (3, 6, 5))
        assert (op.kind, op.in_shape) == ("linear", (1, 1, 90))

    def test_whatever_its_stride(self):
        assert kinds(lower((3, 4, 5), [conv(7, (4, 5), stride=(2, 3))])) == ["linear"]

    def test_of_one_pixel(self):
        assert kinds(lower((3, 1, 1), [conv(7, (1, 1), dilation=(2, 2))])) == ["linear"]

    @pytest.mark.parametrize(
        "layer",
        [
            conv(6, (4, 5), groups=3),
            conv(6, (4, 4)),
            conv(6, (3, 5)),
            conv(6, (4, 3), dilation=(1, 2)),
        ],
        ids=name_of,
    )
    def test_others_are_not(self, layer):
        assert kinds(lower((3, 4, 5), [layer])) == ["conv2d"]


@pytest.mark.parametrize(
    "layers, extent, first_trainable",
    [
        ([RELU], 0, 1),
        ([RELU, linear(3, weight=5)], 5 + 3 * 8, 1),
        ([linear(3, weight=5, bias=2)], 5 + 3 * 8, 0),
        ([linear(3, weight=5, bias=40)], 43, 0),
        ([linear(3, weight=50), RELU, linear(2, weight=0)], 50 + 3 * 8, 0),
    ],
    ids=name_of,
)
def test_parameters(layers, extent, first_trainable):
    plan = lower((8,), layers)
    assert (plan.param_extent, plan.first_trainable) == (extent, first_trainable)


def test_parameters_of_groups():
    assert (
        lower((4, 6, 6), [conv(6, (3, 2), groups=2, weight=10, bias=3)]).param_extent
        == 10 + 6 * 2 * 6
    )


def reads(op):
    """Return the places whose values the backward pass of an op still needs."""
    if op.pool:
        return {op.x, op.argmax}
    if op.kind in ("conv2d", "linear"):
        return {op.x, op.y} if masks(op) else {op.x}
    return {"max_pool2d": {op.x, op.y}, "avg_pool2d": set(), "pad2d": set()}.get(op.kind, {op.y})


def assert_no_value_is_lost(plan):
    """Each op reads the output of the previous one, and backward reads the values of forward."""
    sizes = {0: plan.input_size * LANES}
    writer = {0: None}  # which op wrote a place last
    wanted = []
    at = 0
    for i, op in enumerate(plan.ops):
        assert op.x == at
        assert sizes[op.x] == prod(op.in_shape) * LANES
        assert sizes.setdefault(op.y, prod(op.out_shape) * LANES) == prod(op.out_shape) * LANES
        if op.y == op.x:
            assert isinstance(op, Activation)  # the only kernels that may overwrite what they read
        writer[op.y] = i
        if op.pool:
            assert op.argmax not in sizes
            sizes[op.argmax] = sizes[op.y]
            writer[op.argmax] = i
        wanted.append({place: writer[place] for place in reads(op)})
        at = op.y
    assert plan.output == at
    for op, places in zip(plan.ops, wanted, strict=True):
        assert all(writer[place] == i for place, i in places.items()), (
            f"{op} finds an overwritten value"
        )
    # Places are the same or do not touch, and the input is never written.
    assert writer[0] is None
    ends = [0, *(start + size for start, size in sorted(sizes.items()))]
    assert sorted(sizes) == ends[:-1]
    assert plan.arena_floats == ends[-1]


@pytest.mark.parametrize(
    "layers, in_place",
    [
        ([conv(4, (3, 3)), SIGMOID], [False, True]),
        ([avg_pool(), TANH], [False, True]),
        ([avg_pool(), RELU], [False, True]),
        # The input of the program is the caller's; a max pooling and an activation look at their
        # output again.
        ([TANH], [False]),
        ([TANH, SIGMOID], [False, False]),
        ([conv(4, (3, 3)), TANH, SIGMOID], [False, True, False]),
        ([conv(4, (3, 3)), TANH, TANH, TANH], [False, True, False, False]),
        ([max_pool(), TANH], [False, False]),
        ([conv(4, (3, 3)), RELU, TANH], [False, False]),
        ([conv(4, (3, 3)), RELU, max_pool((3, 3)), TANH], [False, False, False]),
        ([conv(4, (3, 3)), RELU, max_pool(), TANH], [False, True]),
        ([conv(4, (3, 3)), TANH, max_pool()], [False, True, False]),
        ([conv(4, (3, 3)), FLATTEN, TANH], [False, True]),
    ],
    ids=name_of,
)
def test_activations_in_place(layers, in_place):
    plan = lower((3, 6, 6), layers)
    assert [op.x == op.y for op in plan.ops] == in_place
    assert_no_value_is_lost(plan)


@in_one_test
@pytest.mark.parametrize("seed", range(50))
def test_no_value_of_a_random_chain_is_lost(seed):
    rng = np.random.default_rng(seed)
    images = [
        RELU,
        SIGMOID,
        TANH,
        conv(3, (2, 2)),
        conv(3, (1, 1), padding=(1, 1)),
        max_pool((2, 2), (1, 1)),
        max_pool(),
        avg_pool((2, 2), (1, 1)),
    ]
    features = [RELU, SIGMOID, TANH, linear(5), FLATTEN]
    layers = [images[i] for i in rng.integers(len(images), size=5)]
    layers += [FLATTEN] + [features[i] for i in rng.integers(len(features), size=4)]
    assert_no_value_is_lost(lower((3, 64, 64), layers))


def test_no_value_of_lenet5_is_lost():
    assert_no_value_is_lost(lower((1, 28, 28), LENET5))


@pytest.mark.parametrize(
    "input_shape, layers, message",
    [
        ((1, 4, 4), [conv(1, (5, 5))], "kernel_size"),
        ((1, 4, 4), [conv(1, (3, 3), dilation=(2, 1))], "kernel_size.*dilation"),
        ((1, 4, 4), [max_pool((5, 5))], "kernel_size"),
        ((1, 4, 4), [max_pool((3, 3), padding=(3, 0))], "padding"),
        ((1, 4, 4), [max_pool(), max_pool(), max_pool()], "kernel_size"),
        ((1, 4, 4), [conv(2**37, (1, 1))], "activation"),
        ((1, 4, 4), [conv(1, (1, 1), padding=(2**30, 2**30))], "padded input"),
        ((2**36,), [RELU, RELU], "activation"),
        ((2**35,), [RELU, RELU], "activations of a tile"),
    ],
    ids=name_of,
)
def test_sizes_out_of_bounds_are_errors(input_shape, layers, message):
    with pytest.raises(ValueError, match=message):
        lower(input_shape, layers)


def test_every_parameter_is_in_one_slice():
    """Slices and gaps cover the parameters once; sums and saved values have their own places."""
    layers = [
        conv(4, (3, 3), weight=5, bias=200),
        RELU,
        max_pool(),
        FLATTEN,
        linear(50, weight=300, bias=2300),
    ]
    plan = lower((3, 8, 8), layers)
    seen = np.zeros(plan.param_extent, int)
    for op, start, size, _ in plan.slices:
        if op is None:
            seen[start : start + size] += 1
        else:
            features = plan.ops[op].filter_size
            seen[plan.ops[op].weight + start * features :][: size * features] += 1
            seen[plan.ops[op].bias + start :][:size] += 1
    for start, stop in plan.gaps:
        seen[start:stop] += 1
    assert (seen == 1).all()
    assert plan.gaps == [(0, 5), (113, 200), (204, 300), (2100, 2300)]
    assert plan.sums_floats == 4 * 27 + 4


def test_many_parameters_make_few_slices():
    plan = lower((3, 4, 4), [conv(3_000_000, (3, 3))])
    assert len(plan.slices) <= 10_001
    assert sum(size for _, _, size, _ in plan.slices) == 81_000_000


LENET5_1998 = [
    conv(6, (5, 5), weight=0, bias=150),
    Activation("scaled_tanh", (1.7159, 2 / 3)),
    Subsample2d(156, 162, (2, 2)),
    conv(19, (3, 3), stride=(2, 1), weight=168, connections=np.arange(0, 19 * 6, 2)),
    TANH,
    Subsample2d(700, 719, (2, 3)),
    FLATTEN,
    linear(11, weight=800, bias=None),
    Rbf(np.zeros((10, 11), np.float32)),
]


@pytest.mark.parametrize("layers", [LENET5, LENET5_1998], ids=["lenet5", "1998"])
def test_the_way_of_a_sample_has_room_for_every_step(layers):
    """No step's values overlap another's; the canaries of a debug build watch filters and sums."""
    plan = lower((1, 28, 28), layers).sample
    values = [(0, 784)]
    for step in plan.steps:
        if step.y == step.x:
            continue
        channels, *image = step.op.inner_shape
        if step.kind in ("linear", "sample", "plain"):
            size = channels * prod(image)
        elif step.kind == "tile":
            size = LANES * channels * prod(image)
        else:
            size = LANES * -(-channels // LANES) * prod(image)
        values.append((step.y, step.y + size))
    values.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(values))
    assert values[-1][1] <= plan.arena_floats
    assert all(start % LANES == 0 for start, _ in values)


def test_a_gradient_too_large_when_spread_out_goes_in_tiles():
    """Large dilation: the output is one pixel, and its spread-out gradient would be large."""
    wide = lower((1, 3000, 3000), [conv(2**15, (2, 2), dilation=(2999, 2999), weight=0)])
    assert wide.arena_floats < 2**28
    assert not Program(wide, dispatch.tiles).by_sample
    near = lower((1, 30, 30), [conv(2**15, (2, 2), dilation=(29, 29), weight=0)])
    assert Program(near, dispatch.tiles).by_sample
