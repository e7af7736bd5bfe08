"""Tiles and samples divided among threads: bit-identical to one thread, and the division of ops."""

import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from programs import (
    FLATTEN,
    RELU,
    SIGMOID,
    TANH,
    WIDE,
    WIDE_1998,
    Model,
    assert_close,
    connected,
    conv,
    each_isa,
    forward,
    linear,
    pool,
    some,
)

from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.threads import THREAD_WORK

HEAD = [FLATTEN, linear(120), RELU, linear(84), RELU, linear(10)]
NETS = {
    "lenet5": Model(
        (1, 32, 32), [conv(6, 5), RELU, pool("avg"), conv(16, 5), RELU, pool("avg"), *HEAD]
    ),
    "fused poolings": Model(
        (1, 32, 32), [conv(6, 5), RELU, pool("max"), conv(20, 5), RELU, pool("max"), *HEAD]
    ),
    "activations apart": Model(
        (1, 32, 32), [conv(6, 5), TANH, pool("avg"), conv(19, 5), SIGMOID, pool("max"), *HEAD]
    ),
    "few outputs of many channels": Model(
        (12, 14, 14), [conv(9, 5), RELU, conv(12, 5), pool("max", 3, 1), conv(7, 3), FLATTEN]
    ),
    "3 x 3 and single points": Model(
        (16, 12, 12), [conv(24, 3, padding=1), RELU, pool("max"), conv(16, 1), TANH, conv(8, 3)]
    ),
    # A part has longer strips, and by its count more scratch, than the whole convolution.
    "many outputs of few channels": Model((8, 13, 13), [conv(48, 3), RELU]),
    "groups, and a table": Model(
        (16, 14, 14),
        [conv(24, 5, groups=2), RELU, connected(some(24, 17), 5), pool("avg"), FLATTEN],
    ),
    "wide": WIDE,
    "wide, of 1998": WIDE_1998,
}


@in_one_test
@pytest.mark.parametrize("batch", [9, 16, 33])
@pytest.mark.parametrize("model", NETS.values(), ids=NETS)
@each_isa
def test_threads_that_share_a_tile_change_no_bit(isa, model, batch):
    params, x, _ = model.draw(batch)
    tiles = -(-batch // 16)
    assert 1 + model.plan.work * batch // THREAD_WORK >= 2 * tiles, "each has a tile"
    program = model.program(isa)
    expected = forward(program, params, x)
    assert_close(expected, model.reference_forward(params, x)[-1].reshape(batch, -1))
    for threads in (2, 3, 5, 8, 17):
        for _ in range(10):  # who takes which part differs
            assert_array_equal(forward(program, params, x, threads), expected)


ONE_BY_ONE = {
    "two convolutions": Model(
        (1, 28, 28),
        [
            *(conv(32, 3), RELU, conv(64, 3), RELU, pool("max"), FLATTEN, linear(128), RELU),
            linear(10),
        ],
    ),
    "blocks not full": Model(
        (3, 30, 30),
        [
            *(conv(40, 5), TANH, pool("avg"), conv(71, 5), SIGMOID, pool("max", 3, 1), FLATTEN),
            *(linear(101), TANH, linear(17)),
        ],
    ),
    "pixels side by side": Model(
        (1, 66, 66), [conv(6, 5), RELU, pool("max"), conv(64, 5), pool("avg"), conv(24, 3), TANH]
    ),
    "pooling and activation first": Model(
        (64, 64, 64), [pool("max"), TANH, conv(16, 3, padding=1), RELU, FLATTEN, linear(33)]
    ),
    "linear": Model((2000,), [linear(1600), RELU, linear(1200), TANH, linear(3)]),
}


@in_one_test
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("model", ONE_BY_ONE.values(), ids=ONE_BY_ONE)
@each_isa
def test_threads_that_share_a_sample_change_no_bit(isa, model, batch):
    params, x, _ = model.draw(batch)
    threads = 2 * batch
    assert 1 + model.plan.work * batch // THREAD_WORK >= threads, "a thread for each sample"
    program = model.program(isa)
    expected = forward(program, params, x, by_sample=True)
    assert_close(expected, model.reference_forward(params, x)[-1].reshape(batch, -1))
    for count in (threads, threads + 1, 8 * threads):
        for _ in range(5):  # who takes which part differs
            out = forward(program, params, x, count, by_sample=True, share=True)
            assert_array_equal(out, expected)


def test_steps_of_a_segment_share_their_blocks():
    def segments(shape, *layers):
        return lowering.lower(shape, layers).inference.segments

    layers = [
        *(ops.Conv2d(0, None, 33, (3, 3)), ops.Activation("tanh"), ops.MaxPool2d((2, 2), (2, 2))),
        *(ops.Flatten(), ops.Linear(0, None, 84), ops.Activation("tanh"), ops.Linear(0, None, 10)),
    ]
    # a convolution with what follows it, the change of layout, linear layers
    assert segments((1, 14, 14), *layers) == [
        *((0, 3, 3, 1), (3, 4, 1, 1), (4, 6, 6, 1), (6, 7, 1, 1))
    ]
    # Poolings and activations by themselves are shared if they are large.
    pool, tanh = ops.MaxPool2d((2, 2), (2, 2)), ops.Activation("tanh")
    assert segments((32, 8, 8), pool, tanh) == [(0, 1, 1, 1), (1, 3, 2, 32), (3, 4, 1, 1)]


def test_ops_of_a_segment_share_their_channels():
    def segments(shape, *layers):
        return lowering.lower(shape, layers).segments

    # a padding, two convolutions with what follows them by channels, linear layers
    layers = [
        ops.Conv2d(0, None, 6, (5, 5), padding=(2, 2)),
        *(ops.Activation("tanh"), ops.AvgPool2d((2, 2), (2, 2))),
        *(ops.Conv2d(150, None, 16, (5, 5)), ops.MaxPool2d((3, 3), (1, 1))),
        *(ops.Flatten(), ops.Linear(0, None, 84), ops.Activation("tanh"), ops.Linear(0, None, 10)),
    ]
    assert segments((1, 28, 28), *layers) == [
        *((0, 1, 1, 1), (1, 4, 6, 1), (4, 6, 16, 8), (6, 8, 84, 1), (8, 9, 10, 1))
    ]
    # channels of a group belong together, and a sum is nobody's part
    grouped = ops.Conv2d(0, None, 8, (3, 3), groups=2)
    assert segments((4, 8, 8), grouped, ops.Activation("tanh")) == [(0, 1, 1, 1), (1, 2, 1, 1)]


@in_one_test
@pytest.mark.parametrize("channels", [1, 3, 4, 8])
@pytest.mark.parametrize("outputs", [3, 7, 8, 15, 16, 24])
def test_parts_take_the_way_of_the_whole(channels, outputs):
    plan = lowering.lower((channels, 9, 9), [ops.Conv2d(0, None, outputs, (3, 3))])
    ((_, _, shared, least),) = plan.segments
    parts = max(1, shared // least)
    smallest = min((part + 1) * shared // parts - part * shared // parts for part in range(parts))
    # No way of a convolution asks for more than eight outputs, or for any where channels are few.
    assert parts == 1 or smallest >= 8 or channels < 4
