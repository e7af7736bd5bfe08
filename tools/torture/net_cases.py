"""Random small nets: inference, gradients, losses and steps, compared with float64."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np

from lenet5c import nn, optim, reference
from lenet5c.datasets import Distortion
from lenet5c.nn.steps import StepsTaken
from torture.counterparts import Chain
from torture.guarded import GuardedMemory
from torture.kernel_cases import Case, Results, size
from torture.rounding import check

BATCHES = (0, 1, 1, 1, 2, 3, 5, 6, 15, 16, 17, 33, 50)
WHOLE = ("contiguous",)


def random_layers(rng: np.random.Generator, shape: tuple[int, ...], exact: bool) -> list[nn.Layer]:
    """Return one to eight layers for samples of this shape, which end in some classes."""
    layers: list[Any] = []
    for _ in range(int(rng.integers(1, 5))):
        layer = _image_layer(rng, shape, exact)
        layers.append(layer)
        shape = layer.output_shape(shape)
    layers.append(nn.Flatten())
    features = int(np.prod(shape))
    for _ in range(int(rng.integers(0, 3))):
        outputs = int(rng.integers(1, 40))
        layers += [
            nn.Linear(features, outputs, bias=bool(rng.integers(2)), rng=rng),
            _activation(rng, exact),
        ]
        features = outputs
    if rng.random() < 0.2:
        codes = rng.integers(-1, 2, (int(rng.integers(1, 12)), features))
        layers.append(nn.RBF(codes.astype(np.float32)))
    else:
        layers.append(nn.Linear(features, int(rng.integers(1, 12)), rng=rng))
    return layers


def _activation(rng: np.random.Generator, exact: bool) -> nn.Layer:
    kinds = ["relu"] if exact else ["relu", "leaky_relu", "gelu", "sigmoid", "tanh", "scaled_tanh"]
    return nn.ACTIVATIONS[str(rng.choice(kinds))]()


def _image_layer(rng: np.random.Generator, shape: tuple[int, ...], exact: bool) -> nn.Layer:
    C, H, W = shape
    choice = rng.random()
    if choice < 0.2:
        return _activation(rng, exact)
    if choice < 0.4 and min(H, W) >= 2:
        window = tuple(int(rng.integers(1, min(4, n) + 1)) for n in (H, W))
        stride = size(rng, 1, 3)
        if rng.random() < 0.4 and H % 2 == W % 2 == 0:
            window = stride = (2, 2)
        padding, ceil_mode = _padding(rng, window), bool(rng.integers(2))
        if not exact:
            count = bool(rng.integers(2))
            return nn.AvgPool2d(window, stride, padding, ceil_mode, count)
        # No padding with dilation: a window between the pixels would be minus infinity.
        room = all(2 * k - 1 <= n for k, n in zip(window, (H, W), strict=True))
        if room and rng.random() < 0.3:
            return nn.MaxPool2d(window, stride, 0, 2, ceil_mode)
        return nn.MaxPool2d(window, stride, padding, 1, ceil_mode)
    if choice < 0.5 and min(H, W) >= 2:
        return nn.Subsample2d(C, size(rng, 1, 2), rng=rng)
    kernel, padding = size(rng, 1, 5), size(rng, 0, 2)
    kernel = tuple(min(k, n + 2 * p) for k, n, p in zip(kernel, (H, W), padding, strict=True))
    if exact and kernel[1] == 5:
        kernel = (kernel[0], 4)  # five taps go by Winograd's transforms, which are not exact
    dilation = tuple(
        int(rng.integers(1, 3)) if 2 * (k - 1) < n + 2 * p else 1
        for k, n, p in zip(kernel, (H, W), padding, strict=True)
    )
    if rng.random() < 0.2:
        padding = "same"
    elif rng.random() < 0.2:
        padding = tuple((p, p + int(rng.integers(3))) for p in padding)
    O = int(rng.choice([1, 2, 3, 4, 6, 17, 20]))
    options: dict[str, Any] = {"stride": size(rng, 1, 3), "padding": padding, "dilation": dilation}
    if rng.random() < 0.2:
        table = rng.random((C, O)) < 0.6
        table[0] |= ~table.any(axis=0)
        options["connection_table"] = table
    elif C % 2 == 0 and O % 2 == 0 and rng.random() < 0.3:
        options["groups"] = 2
    return nn.Conv2d(C, O, kernel, bias=bool(rng.integers(2)), rng=rng, **options)


def _padding(rng: np.random.Generator, window: tuple[int, ...]) -> Any:
    """Return a valid padding in a random form."""
    form = rng.random()
    if form < 0.15:
        return "same"
    if form < 0.4:
        return tuple((int(rng.integers(k)), int(rng.integers(k))) for k in window)
    return tuple(int(rng.integers(k)) for k in window)


def random_net(
    rng: np.random.Generator, exact_ones: float = 0.4
) -> tuple[nn.Sequential, tuple[int, ...], bool]:
    """Return a net, the shape of its samples, and whether all its sums are exact."""
    exact = bool(rng.random() < exact_ones)
    if rng.random() < 0.03:
        choice = rng.random()
        if choice < 0.4:
            return nn.LeNet5_1998(input_size=(16, 18), rng=rng), (1, 16, 18), False
        shape = (1, 16, 16)
        return nn.LeNet5(activation="tanh", pooling="avg", input_size=16, rng=rng), shape, False
    C = int(rng.choice([1, 1, 2, 3, 4, 6, 17]))
    shape = (C, *rng.integers(3, 11, size=2).tolist())
    net = nn.Sequential(*random_layers(rng, shape, exact))
    if exact:
        net.vector[:] = rng.integers(-1, 2, net.vector.size)
    return net, shape, exact


def _samples(rng: np.random.Generator, shape: tuple[int, ...], exact: bool) -> np.ndarray:
    full = (int(rng.choice(BATCHES)), *shape)
    x = rng.integers(-2, 3, full) if exact else rng.standard_normal(full)
    return x.astype(np.float32)


def _filled(memory: GuardedMemory, array: np.ndarray) -> np.ndarray:
    copy = memory.empty(array.shape, array.dtype, WHOLE)
    copy[...] = array
    return copy


def inference(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Run a batch and one image."""
    net, shape, exact = random_net(rng)
    x = _samples(rng, shape, exact)
    chain = Chain(list(net.layers.values()), exact)
    counterpart, error = chain.forward(x)
    y = net.forward(memory.put(x))
    if chain.fits or not exact:
        check("y", y, counterpart, error)
    if len(x):
        one = net.forward(memory.put(x[:1]))
        if chain.fits or not exact:
            check("y of one", one, counterpart[:1], error[:1])
    assert net.outputs(memory.put(x)).tobytes() == y.tobytes(), "outputs differ from forward"
    return [y]


def gradients(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Compute gradients from dy; all arrays of the program are guarded."""
    net, shape, exact = random_net(rng)
    x, layers = _samples(rng, shape, exact), list(net.layers.values())
    program, params, grads = _program(net, x, memory)
    chain = Chain(layers, exact)
    y, _ = chain.forward(x)
    dy = rng.integers(-1, 2, y.shape) if exact else rng.standard_normal(y.shape)
    dy = dy.astype(np.float32)
    dx = memory.empty((len(x), x[0:1].size if len(x) else int(np.prod(shape))), np.float32, WHOLE)
    given = _flat(memory, x, shape), _flat(memory, dy, y.shape[1:])
    program.backward(*given, params, grads, dx, int(rng.integers(1, 4)), bool(rng.integers(2)))
    (counterpart, error), counterparts = chain.backward(dy, np.zeros(dy.shape))
    if chain.fits or not exact:
        check("dx", dx.reshape(x.shape), counterpart, error)
        _check_grads(net, grads, counterparts)
    return [dx, grads.copy()]


def train_step(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Compute loss, outputs and gradients of a step."""
    net, shape, _ = random_net(rng, exact_ones=0)
    x, layers = _samples(rng, shape, False), list(net.layers.values())
    x = x if len(x) else np.ones((1, *shape), np.float32)
    program, params, grads = _program(net, x, memory)
    chain = Chain(layers, False)
    y, ey = chain.forward(x)
    labels = rng.integers(y.shape[1], size=len(x))
    out, dx = (memory.empty((len(x), n), np.float32, WHOLE) for n in (y.shape[1], x[0].size))
    cross = bool(rng.integers(2))
    targets = None if cross else memory.put(np.eye(y.shape[1], dtype=np.float32)[labels], WHOLE)
    value, _ = program.train_step(
        _flat(memory, x, shape), memory.put(labels.astype(np.int32), WHOLE), params, grads,
        int(rng.integers(1, 4)), "cross_entropy" if cross else "mse", 0.0, targets, out, dx,
        bool(rng.integers(2)),
    )  # fmt: skip
    check("y", out, y, ey)
    counterpart = reference.cross_entropy if cross else reference.mse_loss
    expected, dy = counterpart(y, labels if cross else np.eye(y.shape[1])[labels])
    if cross:  # a probability p changes by at most 2 p (1 - p) times the largest error of a logit
        worst, p = ey.max(axis=1, keepdims=True), reference.softmax(y)
        rounding = 2e-6 * np.maximum(1, abs(y).max(axis=1, keepdims=True))
        edy = (np.minimum(2 * p * np.expm1(np.minimum(2 * worst, 50)), 1) + rounding) / len(x)
    else:
        edy = 2 / y.size * ey + 1e-6 * abs(dy)
    (counterpart_dx, error), counterparts = chain.backward(dy, edy)
    check("dx", dx.reshape(x.shape), counterpart_dx, error)
    _check_grads(net, grads, counterparts)
    slack = 1e-5 * (1 + abs(y).max()) + 2 * ey.max() * (1 if cross else 1 + abs(y).max())
    assert abs(value - expected) <= slack, f"loss {value}, expected {expected} within {slack:.3g}"
    return [out, dx, grads.copy()]


def train_steps(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Train on scaled and distorted bytes: bit-identical to `train_step` and `step`."""
    net, shape, _ = random_net(rng)
    if isinstance(net, nn.LeNet5_1998):
        net, shape = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, rng=rng)), (1, 3, 4)
    images = memory.put(rng.integers(0, 256, (30, *shape), np.uint8), WHOLE)
    offset = memory.put(rng.standard_normal(shape).astype(np.float32))
    warp = Distortion(translation=1, rotation=20, elastic=5, elastic_sigma=1).for_epoch(3, 1)
    index = memory.put(rng.integers(30, size=int(rng.integers(1, 60))), WHOLE)
    samples = nn.Samples(images, index, 1 / 255, offset, warp if rng.random() < 0.3 else None)
    classes = net.output_shape(shape)[0]
    labels = rng.integers(classes, size=len(index))
    kind, batch = str(rng.choice(["sgd", "adam", "lion"])), int(rng.integers(1, 40))
    rates = [1e-3] * -(-len(index) // batch)
    loss, other = nn.MSELoss(), deepcopy(net)
    program, job = net.whole_chain().prepare_step(samples, labels.astype(np.int32), loss)
    job |= {"params": _filled(memory, net.vector), "grads": _filled(memory, net.vector),
            "num_threads": int(rng.integers(1, 4))}  # fmt: skip
    model: Any = SimpleNamespace(vector=job["params"], grad_vector=job["grads"])
    made: Any = optim.OPTIMIZERS[kind].make(model)
    for name in made.vectors:
        setattr(made, name, _filled(memory, getattr(made, name)))
    record = StepsTaken(len(rates))
    update = made.describe_steps(model, rates)
    program.train_steps(**job, batch_size=batch, update=update, record=record)
    single = optim.OPTIMIZERS[kind].make(other)
    for number in range(record.taken):
        part = slice(number * batch, (number + 1) * batch)
        other.train_step(samples[part], labels[part], loss)
        single.lr = rates[number]
        single.step()
    assert job["params"].tobytes() == other.vector.tobytes(), (
        "steps together differ from single ones"
    )
    values = net.forward(memory.put(samples.values()))
    if len(index):
        assert net.outputs(samples).tobytes() == values.tobytes(), "bytes differ from their values"
    return [job["params"].copy(), record.losses, values]


def _program(net: nn.Sequential, x: np.ndarray, memory: GuardedMemory) -> tuple[Any, ...]:
    """Return the net's program, with guarded parameters and gradients."""
    program = net.whole_chain().program(x.shape[1:])
    params = memory.put(net.vector, WHOLE)
    return program, params, memory.empty(params.shape, np.float32, WHOLE)


def _flat(memory: GuardedMemory, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return memory.put(array.reshape(len(array), int(np.prod(shape))), WHOLE)


def _check_grads(net: nn.Sequential, grads: np.ndarray, counterparts: list[Any]) -> None:
    at = 0
    for (name, array), (counterpart, error) in zip(net.params.items(), counterparts, strict=True):
        found = grads[at : at + array.size].reshape(array.shape)
        check(f"d{name}", found, counterpart, error)
        at += array.size


CASES: dict[str, Case] = {
    "net inference": inference,
    "net gradients": gradients,
    "net train step": train_step,
    "net train steps": train_steps,
}
