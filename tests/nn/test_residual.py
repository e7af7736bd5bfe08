"""Residuals compared with their branches, the reference and PyTorch; compiled and in NumPy."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test
from sequential_models import Scale, labels_for, step_by_hand
from tile_layers import assert_close, normal

from lenet5c import nn, optim, reference, set_num_threads


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    set_num_threads(None)


def conv(inputs, outputs, size=3, **settings):
    return nn.Conv2d(inputs, outputs, size, rng=inputs + outputs + size, **settings)


def plain():
    return nn.Residual(conv(5, 5, padding=1), nn.ReLU(), conv(5, 5, padding=1))


def with_convolution():
    """Make a block with a stride and more maps, as between the stages of a residual net."""
    return nn.Residual(
        conv(5, 8, stride=2, padding=1),
        nn.ReLU(),
        conv(8, 8, padding=1, bias=False),
        shortcut=conv(5, 8, 1, stride=2),
    )


def activated_first():
    """Make a block whose rectifier and pooling must not overwrite its input."""
    return nn.Residual(
        nn.ReLU(),
        conv(5, 5, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2, ceil_mode=True),
        shortcut=nn.MaxPool2d(2, ceil_mode=True),
    )


def rectified_last():
    """Both branches end with ops that need their outputs, so the sum overwrites neither."""
    return nn.Residual(
        conv(5, 6, padding=1), nn.ReLU(), shortcut=nn.Sequential(conv(5, 6, 1), nn.Sigmoid())
    )


def nested():
    inner = nn.Residual(nn.Tanh(), nn.Residual(conv(5, 5, 1)), nn.Sequential(nn.LeakyReLU(0.2)))
    outer = nn.Residual(conv(5, 5, 1), inner, shortcut=nn.Sequential(inner_of_shortcut()))
    return nn.Residual(outer)


def inner_of_shortcut():
    return nn.Residual(conv(5, 5, padding=1), nn.GELU())


def nothing_beside():
    return nn.Residual(nn.Sequential(nn.Residual(nn.ReLU())))


def pooled_within():
    """Make a block whose convolution includes a rectifier and a pooling."""
    return nn.Residual(
        conv(5, 6, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        shortcut=nn.Residual(conv(5, 6, 2, stride=2), shortcut=conv(5, 6, 1, stride=2)),
    )


def with_numpy():
    return nn.Residual(conv(5, 5, padding=1), Scale(), nn.Tanh(), shortcut=conv(5, 5, 1))


def with_a_shortcut_in_numpy():
    return nn.Residual(conv(5, 5, padding=1), nn.ReLU(), shortcut=Scale())


COMPILED = [
    plain,
    with_convolution,
    activated_first,
    rectified_last,
    nested,
    nothing_beside,
    pooled_within,
]
BLOCKS = [*COMPILED, with_numpy, with_a_shortcut_in_numpy]
each_block = pytest.mark.parametrize("make", BLOCKS, ids=lambda make: make.__name__)
compiled_block = pytest.mark.parametrize("make", COMPILED, ids=lambda make: make.__name__)


def shape_for(make):
    """Return an odd image's shape, but for poolings that leave no edge an even one."""
    return (5, 6, 8) if make is pooled_within else (5, 7, 9)


def forward_by_hand(layer, x):
    """Run layer by layer, each as a separate program."""
    if isinstance(layer, nn.Sequential):
        for each in layer.layers.values():
            x = forward_by_hand(each, x)
        return x
    if isinstance(layer, nn.Residual):
        added = x if layer.shortcut is None else forward_by_hand(layer.shortcut, x)
        return forward_by_hand(layer.layers, x) + added
    return layer.forward(x, training=True)


def backward_by_hand(layer, dy):
    if isinstance(layer, nn.Sequential):
        for each in reversed(layer.layers.values()):
            dy = backward_by_hand(each, dy)
        return dy
    if isinstance(layer, nn.Residual):
        added = dy if layer.shortcut is None else backward_by_hand(layer.shortcut, dy)
        return backward_by_hand(layer.layers, dy) + added
    return layer.backward(dy)


@in_one_test
@each_block
@pytest.mark.parametrize("batch", [6, 16, 17, 41])
def test_as_by_hand_to_the_bit(make, batch):
    block, counterpart, x = make(), make(), normal(batch, *shape_for(make))
    expected = block.forward(x)
    y = block.forward(x, training=True)
    assert_array_equal(y, expected)
    assert_array_equal(y, forward_by_hand(counterpart, x))
    dy = normal(*y.shape, seed=1)
    assert_array_equal(block.backward(dy), backward_by_hand(counterpart, dy))
    for name, layer in zip(
        (name for name, _ in block.named_layers()),
        (layer for _, layer in counterpart.named_layers()),
        strict=True,
    ):
        for key, grad in layer.grads.items():
            assert_array_equal(block.grads[f"{name}.{key}"], grad)


@in_one_test
@each_block
@pytest.mark.parametrize("batch", [1, 3, 5])
def test_few_samples(make, batch):
    """They are run one by one if all layers support it."""
    block, counterpart, x = make(), make(), normal(batch, *shape_for(make))
    y = block.forward(x, training=True)
    assert_close(y, forward_by_hand(counterpart, x))
    dy = normal(*y.shape, seed=1)
    assert_close(block.backward(dy), backward_by_hand(counterpart, dy))
    for grads, expected in zip(
        block.grads.values(),
        [grad for _, each in counterpart.named_layers() for grad in each.grads.values()],
        strict=True,
    ):
        assert_close(grads, expected)


def net(make=plain, last=nn.ReLU):
    """Put a block between layers that must not be fused with it; end with global pooling."""
    channels = make().output_shape(shape_for(make))[0]
    return nn.Sequential(
        {
            "stem": nn.Sequential(conv(2, 5, padding=1), nn.ReLU()),
            "block": make(),
            "last": last(),
            "pool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(channels, 10, rng=3),
        }
    )


@compiled_block
def test_a_net_of_blocks_is_one_program(make):
    model = net(make)
    assert model.compiled and len(model.segments) == 1
    (chain,) = model.segments
    assert chain.program((2, *shape_for(make)[1:])).by_sample


@each_block
@pytest.mark.parametrize("batch", [4, 37])
def test_a_training_step_is_forward_loss_and_backward(make, batch):
    model, counterpart = net(make), net(make)
    x, labels = normal(batch, 2, *shape_for(make)[1:]), labels_for(batch)
    loss, correct = model.train_step(x, labels, nn.CrossEntropyLoss())
    assert (loss, correct) == step_by_hand(counterpart, x, labels)[:2]
    assert_array_equal(model.grad_vector, counterpart.grad_vector)


@each_block
def test_many_steps_have_the_same_bits_at_any_thread_count(make):
    x, labels = normal(290, 2, *shape_for(make)[1:]), labels_for(290)
    results = []
    for threads in (1, 2, 3, 8):
        set_num_threads(threads)
        model = net(make)
        optimizer = optim.Adam(model, 0.01)
        losses, taken, _ = model.train_steps(
            x, labels, nn.CrossEntropyLoss(), optimizer, [0.01] * 3, batch_size=100
        )
        assert taken == 3
        results.append((losses.tobytes(), model.vector.tobytes()))
    assert all(result == results[0] for result in results)


def test_the_first_layer_of_a_model():
    """Without a gradient of the input, and with it."""
    x, labels = normal(19, 5, 7, 9), labels_for(19, 8)
    model = nn.Sequential(with_convolution(), nn.GlobalMaxPool2d(), nn.Flatten())
    counterpart = copy.deepcopy(model)
    model.train_step(x, labels, nn.CrossEntropyLoss())
    _, _, dx = step_by_hand(counterpart, x, labels)
    assert_array_equal(model.grad_vector, counterpart.grad_vector)
    y = forward_by_hand(counterpart, x)
    assert_array_equal(dx, backward_by_hand(counterpart, nn.CrossEntropyLoss()(y, labels)[1]))


def normalized():
    """Make a block as of He et al. (2016), with all convolutions normalized."""
    return nn.Residual(
        conv(5, 8, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        conv(8, 8, padding=1, bias=False),
        nn.BatchNorm2d(8),
        shortcut=nn.Sequential(conv(5, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8)),
    )


def normalized_first():
    """Make a block with pre-activation, and dropout between its convolutions."""
    return nn.Residual(
        nn.BatchNorm2d(5),
        nn.ReLU(),
        conv(5, 5, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Dropout(0.25, rng=3),
        nn.Residual(conv(5, 5, padding=1), nn.BatchNorm2d(5)),
    )


each_normalized = pytest.mark.parametrize(
    "make", [normalized, normalized_first], ids=lambda make: make.__name__
)


@each_normalized
@pytest.mark.parametrize("batch", [2, 16, 41])
def test_batch_normalization_within(make, batch):
    """The statistics of the batch are taken between the ops of a residual, forward and backward."""
    block, counterpart, x = make(), make(), normal(batch, *shape_for(make))
    assert block.compiled
    dropped = make is normalized_first
    if dropped:  # drawn as the first of its program, not of one of its own
        block.layers.layers["5"].p = counterpart.layers.layers["5"].p = 0.0
    y = block.forward(x, training=True)
    assert_close(y, forward_by_hand(counterpart, x))
    dy = normal(*y.shape, seed=1)
    assert_close(block.backward(dy), backward_by_hand(counterpart, dy), 64)
    for mine, (_, layer) in zip(block.named_layers(), counterpart.named_layers(), strict=True):
        for name, grad in layer.grads.items():
            scale = np.linalg.norm(block.grad_vector)
            assert np.linalg.norm(mine[1].grads[name] - grad) <= 1e-5 * scale
        for name, buffer in layer.buffers.items():
            assert_allclose(mine[1].buffers[name], buffer, rtol=1e-5, atol=1e-6)
    assert_close(block.forward(x), forward_in_inference(counterpart, x))


def forward_in_inference(layer, x):
    if isinstance(layer, nn.Sequential):
        for each in layer.layers.values():
            x = forward_in_inference(each, x)
        return x
    if isinstance(layer, nn.Residual):
        added = x if layer.shortcut is None else forward_in_inference(layer.shortcut, x)
        return forward_in_inference(layer.layers, x) + added
    return layer.forward(x)


@each_normalized
def test_training_with_batch_normalization_has_the_same_bits_at_any_thread_count(make):
    x, labels = normal(290, 2, 7, 9), labels_for(290)
    results = []
    for threads in (1, 2, 3, 8):
        set_num_threads(threads)
        model = net(make)
        assert len(model.segments) == 1
        optimizer = optim.Adam(model, 0.01)
        losses, taken, _ = model.train_steps(
            x, labels, nn.CrossEntropyLoss(), optimizer, [0.01] * 3, batch_size=100
        )
        assert taken == 3
        buffers = [array.tobytes() for array in model.buffers.values()]
        results.append((losses.tobytes(), model.vector.tobytes(), *buffers))
    assert all(result == results[0] for result in results)


def test_matches_reference():
    block, x, dy = with_convolution(), normal(17, 5, 7, 9), normal(17, 8, 4, 5, seed=1)
    w0, b0, w2, w, b = (array.astype(np.float64) for array in block.params.values())
    hidden = reference.conv2d(x, w0, b0, stride=2, padding=1)

    def layers(x):
        y = reference.relu(reference.conv2d(x, w0, b0, stride=2, padding=1))
        return reference.conv2d(y, w2, padding=1)

    def layers_backward(dy):
        dy, _, _ = reference.conv2d_backward(dy, reference.relu(hidden), w2, padding=1)
        dy = reference.relu_backward(dy, reference.relu(hidden))
        return reference.conv2d_backward(dy, x, w0, stride=2, padding=1)[0]

    y = reference.residual(x, layers, partial(reference.conv2d, weight=w, bias=b, stride=2))
    dx = reference.residual_backward(
        dy, layers_backward, lambda dy: reference.conv2d_backward(dy, x, w, stride=2)[0]
    )
    assert_close(block.forward(x, training=True), y)
    assert_close(block.backward(dy), dx)


def test_second_derivatives():
    """The sum of those by both branches, alone and within a model."""
    block, x = with_convolution(), normal(7, 5, 7, 9)
    d2y = np.abs(normal(7, 8, 4, 5, seed=1))
    block.forward(x, training=True)
    d2x = block.backward_second(d2y)
    layers, shortcut = copy.deepcopy(block.layers), copy.deepcopy(block.shortcut)
    layers.forward(x, training=True)
    shortcut.forward(x, training=True)
    assert_close(d2x, layers.backward_second(d2y) + shortcut.backward_second(d2y))
    expected = {f"layers.{name}": each for name, each in layers.curvatures.items()}
    expected |= {f"shortcut.{name}": each for name, each in shortcut.curvatures.items()}
    assert block.curvatures.keys() == expected.keys()
    for name, array in expected.items():
        assert_close(block.curvatures[name], array)
    model = nn.Sequential(nn.Sequential(block), nn.GlobalAvgPool2d(), nn.Flatten())
    model.second_derivatives(x, labels_for(7, 8), nn.CrossEntropyLoss())
    assert (model.curvature_vector > 0).mean() > 0.9


def test_names_and_counts():
    block = with_convolution()
    assert list(block.params) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.2.weight",
        "shortcut.weight",
        "shortcut.bias",
    ]
    assert block.num_params == 8 * 46 + 8 * 72 + 8 * 6
    named = nn.Residual({"conv": conv(2, 2, 1)}, shortcut=nn.Sequential({"s": conv(2, 2, 1)}))
    assert list(named.grads)[::2] == ["layers.conv.weight", "shortcut.s.weight"]
    assert list(net().state_dict())[2] == "block.layers.0.weight"
    branches = block.layers.connections((5, 7, 9)) + block.shortcut.connections((5, 7, 9))
    assert block.connections((5, 7, 9)) == branches + 2 * 8 * 4 * 5
    assert "block    Residual" in net().summary((2, 7, 9))
    assert repr(nn.Residual(nn.ReLU(), nn.Residual(nn.Tanh()), shortcut=nn.Sigmoid())) == (
        "Residual(\n  0: ReLU()\n  1: Residual(\n    0: Tanh()\n  )\n  shortcut: Sigmoid()\n)"
    )


@each_block
def test_copies_and_pickles(make):
    block, x = make(), normal(7, *shape_for(make))
    y = block.forward(x)
    for counterpart in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert_array_equal(counterpart.forward(x), y)
        assert not np.shares_memory(counterpart.vector, block.vector)
        for name, array in counterpart.params.items():
            assert np.shares_memory(array, counterpart.vector), name


def test_parameters_are_views_of_the_models():
    model = net(with_convolution)
    model["block"].params["shortcut.bias"] = np.arange(8)
    assert_array_equal(model.params["block.shortcut.bias"], np.arange(8))
    assert np.shares_memory(model["block"].vector, model.vector)
    before = model.forward(normal(6, 2, 7, 9))
    counterpart = net(with_convolution)
    counterpart.load_state_dict(model.state_dict())
    assert_array_equal(counterpart.forward(normal(6, 2, 7, 9)), before)


def test_linear_layers():
    """A residual of linear layers, on rows of features."""
    block = nn.Residual(
        nn.Linear(35, 19, rng=0), nn.ReLU(), nn.Linear(19, 35, rng=1), shortcut=nn.ReLU()
    )
    for batch in (1, 4, 33):
        x, dy = normal(batch, 35), normal(batch, 35, seed=1)
        counterpart = copy.deepcopy(block)
        assert_close(block.forward(x, training=True), forward_by_hand(counterpart, x))
        assert_close(block.backward(dy), backward_by_hand(counterpart, dy))


@pytest.mark.parametrize(
    "layers, shape, message",
    [
        (
            [conv(5, 8, stride=2, padding=1)],
            (5, 7, 9),
            r"output shape of the main branch, \(8, 4, 5\).*got \(5, 7, 9\); use "
            r"shortcut=nn.Conv2d\(5, 8, 1, stride=2\)",
        ),
        ([conv(5, 5)], (5, 7, 9), r"got \(5, 7, 9\); pad the convolutions of the main branch(;|$)"),
        ([conv(5, 8)], (5, 7, 9), r"of the main branch, and use shortcut=nn.Conv2d\(5, 8, 1\)"),
        ([nn.Linear(4, 3, rng=0)], (4,), r"use shortcut=nn.Linear\(4, 3\)"),
        ([nn.Flatten()], (5, 7, 9), r"shape of the main branch, \(315,\).*got \(5, 7, 9\)"),
        ([Scale(), conv(5, 5)], (5, 7, 9), r"got \(5, 7, 9\)"),
    ],
)
def test_branches_of_different_shapes(layers, shape, message):
    block = nn.Residual(*layers)
    for call in (block.output_shape, lambda shape: block.forward(normal(3, *shape))):
        with pytest.raises(ValueError, match=message):
            call(shape)
    with pytest.raises(ValueError, match=message):
        nn.Sequential(copy.deepcopy(block), nn.Flatten()).forward(normal(9, *shape))


def test_errors():
    with pytest.raises(TypeError, match=r"shortcut must be a lenet5c\.nn\.Layer or None, got int"):
        nn.Residual(nn.ReLU(), shortcut=3)
    with pytest.raises(ValueError, match="at least one"):
        nn.Residual()
    layer = conv(2, 2, 1)
    with pytest.raises(ValueError, match="not share layers"):
        nn.Residual(layer, shortcut=nn.Sequential(layer))
    block = plain()
    with pytest.raises(RuntimeError, match="training=True"):
        block.backward(normal(3, 5, 7, 9))
    nn.Sequential(block.layers[0])
    with pytest.raises(RuntimeError, match="another model"):
        block.forward(normal(3, 5, 7, 9))


def test_an_input_of_another_shape_names_the_one_it_takes():
    with pytest.raises(ValueError, match=r"Sequential, \(N, 2, H, W\)"):
        net().forward(normal(3, 4, 7, 9))


class TestBesidePyTorch:
    STEPS, BATCH = 100, 16

    @pytest.fixture(autouse=True)
    def one_torch_thread(self, torch):
        """More threads do not help for such a small net."""
        count = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(count)

    def models(self, torch):
        """Make two equal nets: a stem, two blocks, one of which halves the image, and a head."""
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, rng=0),
            nn.Tanh(),
            nn.Residual(
                nn.Conv2d(8, 8, 3, padding=1, rng=1),
                nn.Tanh(),
                nn.Conv2d(8, 8, 3, padding=1, rng=2),
            ),
            nn.Tanh(),
            nn.Residual(
                nn.Conv2d(8, 12, 3, padding=1, stride=2, groups=2, rng=3),
                nn.Tanh(),
                nn.Conv2d(12, 12, 3, padding=1, groups=12, rng=4),
                shortcut=nn.Conv2d(8, 12, 1, stride=2, rng=5),
            ),
            nn.Tanh(),
            nn.GlobalAvgPool2d(),
            nn.Flatten(),
            nn.Linear(12, 10, rng=6),
        )

        class Residual(torch.nn.Module):
            def __init__(self, *layers, shortcut=None):
                super().__init__()
                self.layers = torch.nn.Sequential(*layers)
                self.shortcut = shortcut or torch.nn.Identity()

            def forward(self, x):
                return self.layers(x) + self.shortcut(x)

        conv, act = torch.nn.Conv2d, torch.nn.Tanh
        counterpart = torch.nn.Sequential(
            conv(3, 8, 3, padding=1),
            act(),
            Residual(conv(8, 8, 3, padding=1), act(), conv(8, 8, 3, padding=1)),
            act(),
            Residual(
                conv(8, 12, 3, padding=1, stride=2, groups=2),
                act(),
                conv(12, 12, 3, padding=1, groups=12),
                shortcut=conv(8, 12, 1, stride=2),
            ),
            act(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(12, 10),
        ).double()
        counterpart.load_state_dict(
            {name: torch.tensor(a) for name, a in model.state_dict().items()}
        )
        return model, counterpart

    def test_a_hundred_steps_follow_the_same_losses_and_weights(self, torch):
        """With equal weights and parameter names; PyTorch in float64."""
        model, counterpart = self.models(torch)
        count = self.STEPS * self.BATCH
        labels = labels_for(count)
        x = 0.5 * normal(count, 3, 9, 11) + normal(10, 3, 9, 11, seed=1)[labels]
        optimizer = optim.SGD(model, 0.05, momentum=0.9)
        losses, _, _ = model.train_steps(
            *(x, labels, nn.CrossEntropyLoss(), optimizer, [0.05] * self.STEPS),
            batch_size=self.BATCH,
        )
        theirs = torch.optim.SGD(counterpart.parameters(), lr=0.05, momentum=0.9)
        expected = []
        for step in range(self.STEPS):
            batch = slice(step * self.BATCH, (step + 1) * self.BATCH)
            theirs.zero_grad()
            logits = counterpart(torch.tensor(x[batch], dtype=torch.float64))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[batch]))
            loss.backward()
            theirs.step()
            expected.append(loss.item())
        assert np.mean(expected[-20:]) < expected[0] / 2  # it did learn
        assert_allclose(losses, expected, rtol=1e-4)
        for name, parameter in counterpart.named_parameters():
            their = parameter.detach().numpy()
            error = np.linalg.norm(model.params[name] - their) / np.linalg.norm(their)
            assert error <= 1e-4, name
