"""Compiled models: the bits of `forward`, also after changed parameters; invalid arguments."""

import copy
import pickle
import re
import threading
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sequential_models import (
    ending_with_numpy,
    labels_for,
    lenet5,
    lenet5_1998,
    nested,
    normal,
    with_groups,
    with_numpy_layers,
)

from lenet5c import nn, optim

COMPILED = [lenet5, lenet5_1998, nested, with_groups]
each_model = pytest.mark.parametrize("make", COMPILED, ids=lambda make: make.__name__)
SHAPE = (1, 16, 16)


def images(count, seed=0):
    return normal(count, *SHAPE, seed=seed)


def assert_bits(actual, expected):
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def expect(model, few, x):
    """Return the outputs of `forward` for x, with up to `few` samples run one by one."""
    if 0 < len(x) <= few:
        return np.concatenate([model.forward(x[i : i + 1]) for i in range(len(x))])
    return model.forward(x)


@each_model
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_bits_of_forward(make, threads):
    model = make()
    outputs = model.compile(SHAPE, num_threads=threads)
    assert outputs.few == 0 if make is with_groups else 5 <= outputs.few <= 16
    for count in (1, 2, 3, 4, 5, 6, 7, 11, 16, 17, 40, 0):
        x = images(count)
        expected = expect(model, outputs.few, x)
        assert_bits(outputs(x), expected)
        out = np.full_like(expected, np.nan)
        assert outputs(x, out) is out
        assert_bits(out, expected)


def large():
    """Make a net with a residual and mixed layouts, whose images are worth several threads."""

    def conv(inputs, outputs, size, **settings):
        return nn.Conv2d(inputs, outputs, size, rng=inputs + outputs, **settings)

    block = nn.Residual(conv(40, 40, 3, padding=1), nn.Tanh(), conv(40, 40, 1))
    return nn.Sequential(
        *(conv(2, 40, 5), nn.BatchNorm2d(40), nn.ReLU(), nn.MaxPool2d(2), block, nn.GELU()),
        *(conv(40, 24, 3), nn.AvgPool2d(3, 2), nn.Flatten(), nn.Linear(600, 333, rng=3)),
        *(nn.Sigmoid(), nn.Linear(333, 17, rng=4)),
    )


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_that_share_an_image_change_no_bit(threads):
    model = large()
    outputs = model.compile((2, 32, 32), num_threads=threads)
    for count in (1, 2, 5, outputs.few):
        x = normal(count, 2, 32, 32, seed=count)
        expected = expect(model, outputs.few, x)
        for _ in range(10):  # who takes which part differs
            assert_bits(outputs(x), expected)


def set_element(model):
    model.layers["conv2"].params["weight"].reshape(-1)[-1] += 1e-6


def set_bias(model):
    model.params["conv2.bias"][0] = -7


def negate_a_zero(model):
    model.vector[:] = 0
    model.forward(images(1))
    model.vector[:] = -0.0


def assign(model):
    model.layers["conv1"].params["weight"] = normal(6, 1, 5, 5, seed=3)


def load(model):
    model.load_state_dict(nn.LeNet5(input_size=16, rng=5).state_dict())


def train(model):
    optimizer = optim.Adam(model)
    model.train_step(images(20), labels_for(20), nn.CrossEntropyLoss())
    optimizer.step()


def put_into_another(model):
    nn.Sequential(model, nn.ReLU()).vector[:] *= 2


CHANGES = [set_element, set_bias, negate_a_zero, assign, load, train, put_into_another]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_after_any_change_of_the_parameters(change):
    model = lenet5(rng=0)
    outputs = model.compile()
    for count in (1, 3, 17):
        outputs(images(count))
    change(model)
    for count in (1, 3, 17):
        # a copy has nothing packed
        assert_bits(outputs(images(count)), copy.deepcopy(model).forward(images(count)))


def test_parameters_of_zeros_and_not_a_number():
    model = lenet5(rng=0)
    kept = model.vector.copy()
    model.vector[:] = 0
    outputs = model.compile()
    assert not outputs(images(1)).any()
    model.vector[:] = np.nan
    assert np.isnan(outputs(images(1))).all()
    model.vector[:] = kept
    assert_bits(outputs(images(1)), model.forward(images(1)))


def test_running_statistics_are_those_of_the_time():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, rng=0), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(588, 4)
    )
    outputs = model.compile(SHAPE)
    before = outputs(images(2))
    model.forward(images(30, seed=1) + 2, training=True)
    assert_bits(outputs(images(2)), model.forward(images(2)))
    assert (outputs(images(2)) != before).any()


def test_a_layer_that_was_put_into_another_model():
    model = lenet5(rng=0)
    outputs = model.compile()
    nn.Sequential(model.layers["fc3"])
    with pytest.raises(RuntimeError, match="must belong to one model"):
        outputs(images(1))


def misaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(np.float32).reshape(x.shape)
    view[...] = x
    return view


def read_only(x):
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.int8),
        lambda x: x.astype(">f4"),
        lambda x: np.asfortranarray(x),
        lambda x: x[:, :, ::-1],
        lambda x: x[::2],
        misaligned,
        read_only,
    ],
)
def test_other_arrays(change):
    model = lenet5(rng=0)
    x = change(images(3))
    assert_bits(model.compile()(x), model.forward(x))


def test_out_that_is_written_to_by_way_of_a_copy():
    model = nn.Sequential(nn.Linear(4, 4, rng=0))
    outputs, x = model.compile((4,)), normal(6, 4)
    expected = model.forward(x)
    wide = np.zeros((6, 8), np.float32)
    assert_bits(np.ascontiguousarray(outputs(x, wide[:, ::2])), expected)
    memory = np.zeros((7, 4), np.float32)
    memory[:6] = x
    assert_bits(outputs(memory[:6], memory[1:]), expected)
    assert outputs(x, out=x) is x
    assert_bits(x, expected)


@pytest.mark.parametrize(
    "out, error, message",
    [
        (np.zeros((3, 10), np.float32), ValueError, "out must have the shape (2, 10), got (3, 10)"),
        (np.zeros((2, 10)), TypeError, "out must have the dtype of the result, float32"),
        (np.ma.zeros((2, 10), np.float32), TypeError, "out must be a NumPy array without a mask"),
        (read_only(np.zeros((2, 10), np.float32)), ValueError, "out must be writeable"),
    ],
)
def test_out_is_refused(out, error, message):
    with pytest.raises(error, match=re.escape(message)):
        lenet5(rng=0).compile()(images(2), out)


@pytest.mark.parametrize(
    "x, error, message",
    [
        (images(2)[:, 0], ValueError, "x must be a batch with the input shape of LeNet5"),
        (images(2)[..., 1:], ValueError, "x must be a batch with the input shape of LeNet5"),
        (images(2).astype(np.float64), TypeError, "x must be a NumPy array of float32 for LeNet5"),
        (np.ma.array(images(2)), TypeError, "mask"),
        (images(2).tolist(), TypeError, "got list"),
        (None, TypeError, "x must be"),
    ],
)
def test_x_is_refused(x, error, message):
    outputs = lenet5(rng=0).compile()
    with pytest.raises(error, match=re.escape(message)):
        outputs(x)
    assert outputs(images(1)).shape == (1, 10)


def test_another_shape_that_the_model_takes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.GlobalAvgPool2d(), nn.Flatten())
    outputs = model.compile(SHAPE)
    with pytest.raises(ValueError, match=re.escape("x must have shape (N, 1, 16, 16), for")):
        outputs(normal(1, 1, 20, 20))
    assert_bits(
        model.compile((1, 20, 20))(normal(1, 1, 20, 20)), model.forward(normal(1, 1, 20, 20))
    )


def test_models_that_are_refused():
    with pytest.raises(TypeError, match="got 'norm', a Normalize written in NumPy"):
        with_numpy_layers().compile(SHAPE)
    with pytest.raises(TypeError, match="got '3', a Scale"):
        ending_with_numpy().compile(SHAPE)

    class Doubled(nn.Sequential):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    with pytest.raises(TypeError, match="a Doubled, which overrides it"):
        Doubled(nn.Linear(3, 2)).compile((3,))
    with pytest.raises(ValueError, match="input_shape must be given"):
        nested().compile()
    with pytest.raises(ValueError, match="input_shape must fit the model, got"):
        nested().compile((1, 9, 9))
    with pytest.raises(ValueError, match="num_threads must be an integer from 1 to 1024"):
        lenet5().compile(num_threads=0)


def test_python_threads():
    """All threads call one compiled model, whose parameters change between rounds."""
    model = lenet5(rng=0)
    outputs = model.compile(num_threads=1)
    rounds = [nn.LeNet5(input_size=16, rng=seed).state_dict() for seed in range(5)]
    expected, found = [], [[] for _ in range(4)]
    for state in rounds:
        model.load_state_dict(state)
        expected.append([model.forward(images(count)) for count in (1, 2, 3, 20)])
    start, end = threading.Barrier(5), threading.Barrier(5)

    def work(number):
        x = images((1, 2, 3, 20)[number])
        for _ in rounds:
            start.wait()
            found[number].append([outputs(x) for _ in range(30)])
            end.wait()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for state in rounds:
        model.load_state_dict(state)
        start.wait()
        end.wait()
    for worker in workers:
        worker.join()
    for number, answers in enumerate(found):
        for turn, arrays in enumerate(answers):
            for array in arrays:
                assert_bits(array, expected[turn][number])


def test_nothing_is_allocated_but_the_result():
    outputs, x, out = lenet5(rng=0).compile(), images(1), np.empty((1, 10), np.float32)
    outputs(x, out)
    tracemalloc.start()
    try:
        for _ in range(100):
            outputs(x, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024  # Python's own objects, each gone before the next call


def test_copies_have_a_model_of_their_own():
    outputs = lenet5(rng=0).compile()
    for again in (copy.deepcopy(outputs), pickle.loads(pickle.dumps(outputs))):
        assert_array_equal(again(images(1)), outputs(images(1)))
        again.model.vector[:] = 0
        assert not again(images(1)).any()
        assert outputs(images(1)).any()
    assert repr(outputs) == "<CompiledModel of LeNet5: (1, 16, 16)>"
