"""The bits expected on every processor with fused multiply-add: a digest for each topic.

    python tests/same_bits.py            compute the digests and compare them with same_bits.json
    python tests/same_bits.py --write    record them, after a change of the summation order

A topic yields arrays; a different digest identifies the changed kernel. Inputs are computed from
integers, independent of NumPy's generators and the C library. Each instruction set of the processor
is run in its own process, and digests are recorded only if all agree.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import bits_of_channels_last  # noqa: F401, its topics
import bits_of_residuals  # noqa: F401
from bits import (
    FEW,
    MANY,
    TOPICS,
    both_ways,
    numbers,
    special,
    steps,
    topic,
    trained,
    whole_numbers,
)

from lenet5c import kernels, nn, optim
from lenet5c.datasets import Distortion
from lenet5c.kernels.simd import _cpu, _peak

RECORD = Path(__file__).with_suffix(".json")
FUSED = ("avx512", "avx2", "neon")  # where v16_fma of simd.h rounds once

# Image (C, H, W), filters, window: LeNet's two; widths and counts around every register block; all
# that a window can do.
CONVOLUTIONS = [
    ((1, 20, 20), 6, (5, 5), {}),
    ((6, 14, 14), 16, (5, 5), {}),
    ((1, 12, 12), 6, (5, 5), {"padding": 2}),
    ((3, 7, 9), 4, (3, 3), {"padding": 1}),
    ((2, 9, 8), 5, (2, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (3, 2)}),
    ((3, 11, 10), 7, (3, 2), {"stride": 3, "padding": 1}),
    ((9, 5, 8), 3, (1, 1), {"stride": (1, 2)}),
    ((4, 6, 5), 6, (3, 3), {"groups": 2, "padding": 1}),
    ((8, 4, 3), 8, (2, 2), {"groups": 8}),
    ((5, 3, 13), 1, (1, 7), {}),
    ((7, 4, 4), 25, (3, 3), {}),
    ((2, 5, 4), 11, (5, 4), {}),
    ((1, 3, 2), 1, (2, 2), {"dilation": (1, 1)}),
]


def convolved(batch):
    for seed, (image, filters, window, options) in enumerate(CONVOLUTIONS):
        if batch < 4 and image[1:] == window:
            continue  # a fully connected layer: NumPy's matrix product, with an order of its own
        x = numbers((batch, *image), seed)
        weight = numbers((filters, image[0] // options.get("groups", 1), *window), 50 + seed)
        yield x, weight, options, numbers(filters, 100 + seed)


def convolved_backward(batch):
    for x, weight, options, _ in convolved(batch):
        shape = nn.Conv2d(x.shape[1], len(weight), weight.shape[2:], **options).output_shape(
            x.shape[1:]
        )
        yield from kernels.conv2d_backward(numbers((batch, *shape), 150), x, weight, **options)


@topic
def conv2d():
    for x, weight, options, bias in convolved(FEW):
        yield kernels.conv2d(x, weight, bias, **options)
        yield kernels.conv2d(x, weight, **options)


@topic
def conv2d_backward():
    yield from convolved_backward(FEW)


@topic
def conv2d_of_one_sample():
    for x, weight, options, bias in convolved(1):
        yield kernels.conv2d(x, weight, bias, **options)


@topic
def conv2d_backward_of_one_sample():
    yield from convolved_backward(1)


@topic
def conv2d_with_relu():
    for seed, (image, filters, window, options) in enumerate(CONVOLUTIONS):
        for behind in ([], [nn.MaxPool2d(1)]):
            model = nn.Sequential(
                nn.Conv2d(image[0], filters, window, **options), nn.ReLU(), *behind
            )
            yield from both_ways(model, numbers((FEW, *image), seed), 200 + seed)


# By squares of 2 x 2 outputs: odd images, channels around every register block, groups; pooled.
SQUARES = [
    ((8, 7, 10), 9, {"padding": 1}),
    ((17, 6, 6), 35, {}),
    ((66, 4, 8), 20, {"padding": 1, "groups": 2}),
]


@topic
def conv2d_by_squares():
    for seed, (image, filters, options) in enumerate(SQUARES):
        for behind in ([], [nn.ReLU(), nn.MaxPool2d(2)]):
            model = nn.Sequential(nn.Conv2d(image[0], filters, 3, **options), *behind)
            yield from both_ways(model, numbers((FEW, *image), 240 + seed), 250 + seed)


@topic
def linear():
    for seed, (inputs, outputs) in enumerate(
        [(1, 1), (5, 3), (16, 6), (33, 17), (49, 25), (100, 10)]
    ):
        yield from both_ways(nn.Linear(inputs, outputs), numbers((FEW, inputs), seed), 300 + seed)
        model = nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.ReLU())
        yield from both_ways(model, numbers((FEW, inputs), seed), 350 + seed)


# Image, window.
POOLINGS = [
    ((3, 8, 6), {"kernel_size": 2}),
    ((2, 7, 5), {"kernel_size": 2}),
    ((2, 9, 8), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 6, 7), {"kernel_size": (3, 2), "stride": (1, 3)}),
    ((2, 5, 6), {"kernel_size": (2, 4), "stride": 1, "padding": (1, 2)}),
]


def pooled(forward, backward, make, **options):
    for seed, (image, window) in enumerate(POOLINGS):
        for batch in (1, FEW):
            for draw in (numbers, steps):
                x = draw((batch, *image), seed)
                y = forward(x, **window, **options)
                yield y
                yield backward(make(y, seed), x, **window, **options)


@topic
def max_pool2d():
    yield from pooled(
        kernels.max_pool2d,
        kernels.max_pool2d_backward,
        lambda y, seed: numbers(y.shape, 400 + seed),
    )


@topic
def avg_pool2d():
    for count_include_pad in (True, False):
        yield from pooled(
            kernels.avg_pool2d,
            kernels.avg_pool2d_backward,
            lambda y, seed: numbers(y.shape, 450 + seed),
            count_include_pad=count_include_pad,
        )


@topic
def relu():
    yield from both_ways(nn.ReLU(), numbers((FEW, 500), 1), 500)


@topic
def sigmoid():
    yield from both_ways(nn.Sigmoid(), numbers((FEW, 500), 2), 500)
    yield from both_ways(nn.Sigmoid(), numbers((FEW, 500), 3) * 64, 501)


@topic
def tanh():
    yield from both_ways(nn.Tanh(), numbers((FEW, 500), 4), 500)
    yield from both_ways(nn.Tanh(), numbers((FEW, 500), 5) * 16, 501)


@topic
def scaled_tanh():
    yield from both_ways(nn.ScaledTanh(), numbers((FEW, 500), 6), 500)
    yield from both_ways(nn.ScaledTanh(-3, 0.25), numbers((FEW, 500), 7) * 16, 501)
    yield from both_ways(nn.ScaledTanh(), special(500), 502)


@topic
def conv2d_with_connection_table():
    for seed, (image, filters, window, options) in enumerate(CONVOLUTIONS):
        if options.get("groups", 1) == 1:
            table = whole_numbers((image[0], filters), 210 + seed, 0, 2)
            table[0] |= ~table.any(axis=0)
            layer = nn.Conv2d(image[0], filters, window, connection_table=table, **options)
            yield from both_ways(layer, numbers((FEW, *image), seed), 220 + seed)


@topic
def subsample2d():
    for seed, (image, window) in enumerate([((3, 8, 6), 2), ((17, 7, 5), 2), ((35, 9, 8), (3, 2))]):
        yield from both_ways(
            nn.Subsample2d(image[0], window), numbers((FEW, *image), seed), 470 + seed
        )


@topic
def distances():
    for seed, (features, classes) in enumerate([(1, 1), (16, 3), (84, 10), (35, 18)]):
        layer = nn.RBF(numbers((classes, features), 480 + seed))
        yield from both_ways(layer, numbers((FEW, features), seed), 490 + seed)


@topic
def special_values():
    x = special(31 * 16)
    for layer in (nn.ReLU(), nn.Sigmoid(), nn.Tanh()):
        yield layer.forward(x, training=True)
        yield layer.backward(np.flip(x).copy())
    images = x[:, :480].reshape(FEW, 5, 8, 12)
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
        for image in (images, np.flip(images).copy()):
            y = kernels.max_pool2d(image, **options)
            yield y
            yield kernels.max_pool2d_backward(numbers(y.shape, 550), image, **options)
    # Products that vanish; products that overflow; and an infinite weight, beside which a stray
    # zero would show.
    x, weight = numbers((FEW, 3, 6, 6), 551), numbers((4, 3, 3, 3), 552)
    for power in (-74, 62, 0):
        scale = np.float32(2.0**power)
        if power == 0:
            weight[1, 1, 1, 1] = np.inf
        y = kernels.conv2d(x * scale, weight * scale)
        yield y
        yield from kernels.conv2d_backward(numbers(y.shape, 553) * scale, x * scale, weight * scale)


@topic
def cross_entropy():
    for seed, (batch, classes) in enumerate([(1, 2), (FEW, 10), (MANY, 17)]):
        for smoothing in (0, 0.125):
            for scale in (1, 64):
                logits = numbers((batch, classes), 600 + seed) * np.float32(scale)
                loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
                yield from loss(logits, whole_numbers(batch, 650 + seed, 0, classes))


@topic
def mean_squared_error():
    for seed, (batch, features) in enumerate([(1, 2), (FEW, 10), (MANY, 17)]):
        yield from nn.MSELoss()(
            numbers((batch, features), 700 + seed), numbers((batch, features), 750 + seed)
        )


@topic
def losses_of_penalties():
    for seed, (batch, classes) in enumerate([(1, 2), (FEW, 10), (MANY, 17)]):
        for scale in (1, 64):
            penalties = numbers((batch, classes), 760 + seed) * np.float32(scale)
            for loss in (nn.MLELoss(), nn.MAPLoss(0.125), nn.MAPLoss(40)):
                yield from loss(penalties, whole_numbers(batch, 770 + seed, 0, classes))


def optimized(make):
    model = nn.Linear(50, 20)
    model.vector[:] = numbers(model.num_params, 800)
    optimizer = make(model)
    for step in range(4):
        model.grad_vector[:] = numbers(model.num_params, 801 + step)
        optimizer.step()
        yield model.vector
        yield from (getattr(optimizer, name) for name in optimizer.vectors)


@topic
def sgd():
    for nesterov in (False, True):
        yield from optimized(
            lambda model, nesterov=nesterov: optim.SGD(model, 0.1, 0.9, nesterov, weight_decay=1e-3)
        )


# Few bits, so that a C library's powers of them are exact.
BETAS = (0.875, 0.9375)


@topic
def adam():
    for decoupled in (False, True):
        yield from optimized(
            lambda model, decoupled=decoupled: optim.Adam(model, 0.01, BETAS, 1e-8, 1e-2, decoupled)
        )


@topic
def second_derivatives_and_sdlm():
    model = nn.LeNet5(input_size=20, activation="tanh", pooling="avg")
    model.vector[:] = numbers(model.num_params, 800) / 16
    samples = whole_numbers((MANY, 1, 20, 20), 801, 0, 256).astype(np.uint8)
    labels = whole_numbers(MANY, 802, 0, 10)
    samples = nn.Samples(samples, scale=2.0**-7, offset=numbers((1, 20, 20), 803))
    optimizer = optim.SDLM(model, 2.0**-6)
    optimizer.estimate(samples, labels, nn.MSELoss())
    yield optimizer.curvature
    yield optimizer.step_sizes()
    model.train_step(samples, labels, nn.MSELoss())
    optimizer.step()
    yield model.vector


@topic
def adagrad():
    yield from optimized(lambda model: optim.Adagrad(model, 0.01, 1e-2))


@topic
def rmsprop():
    for momentum in (0, 0.875):
        yield from optimized(
            lambda model, momentum=momentum: optim.RMSprop(
                model, 0.01, 0.9375, 1e-8, 1e-2, momentum
            )
        )


@topic
def training_with_relu_and_max_pool():
    model = nn.LeNet5(input_size=20, pooling="max")
    loss = nn.CrossEntropyLoss(label_smoothing=0.125)
    yield from trained(model, (1, 20, 20), lambda model: optim.SGD(model, 2.0**-6, 0.9), MANY, loss)


@topic
def training_with_tanh_and_avg_pool():
    model = nn.LeNet5(
        input_size=16, padding=(2, 0), activation="tanh", pooling="avg", in_channels=2
    )
    loss = nn.CrossEntropyLoss()
    yield from trained(
        model, (2, 16, 16), lambda model: optim.Adam(model, 2.0**-8, BETAS), FEW, loss
    )


@topic
def training_with_sigmoid_and_mean_squared_error():
    model = nn.LeNet5(input_size=18, activation="sigmoid", pooling="max")
    yield from trained(
        model, (1, 18, 18), lambda model: optim.SGD(model, 2.0**-4), FEW, nn.MSELoss()
    )


@topic
def batch_norm():
    """With batch statistics, and then with the running statistics, also for one sample."""
    shapes = [(FEW, 3), (MANY, 17), (FEW, 5, 7), (FEW, 2, 6, 5), (MANY, 18, 20, 14), (2, 1, 1, 1)]
    for seed, shape in enumerate(shapes):
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        layer = kind(shape[1], momentum=0.375)
        for scale in (1, 64):
            x = numbers(shape, 960 + seed) * np.float32(scale) + np.float32(scale)
            yield from (layer.forward(x, training=True), layer.backward(numbers(shape, 970)))
            yield from (*layer.grads.values(), *layer.buffers.values())
        layer.frozen = True
        yield from both_ways(layer, x, 980 + seed)


@topic
def batch_norm_with_relu_and_pooling():
    for seed, image in enumerate([(3, 8, 6), (17, 4, 10)]):
        pools = [], [nn.MaxPool2d(2)], [nn.AvgPool2d(2)]
        for after in (*pools, *([nn.ReLU(), *pool] for pool in pools)):
            model = nn.Sequential(nn.BatchNorm2d(image[0]), *after)
            model.vector[:] = numbers(model.num_params, 990 + seed)
            for draw in (numbers, steps):
                x = draw((FEW, *image), 991 + seed)
                y = model.forward(x, training=True)
                yield from (y, model.backward(numbers(y.shape, 992)), model.grad_vector)
                yield from (model.forward(x), model.forward(x[:1]))


def with_seeds(model):
    """Seed dropouts by hand: their own seeds come from NumPy's generators."""
    for seed, layer in enumerate(model.random_layers().values()):
        layer.rng_state = {"seed": 2**40 + seed, "passes": 3 * seed}
    return model


@topic
def dropout():
    for seed, shape in enumerate([(FEW, 1), (FEW, 37), (MANY, 3, 5, 7)]):
        layer = with_seeds(nn.Dropout(0.375))
        for _ in range(2):
            yield layer.forward(numbers(shape, 995 + seed), training=True)
            yield layer.backward(numbers(shape, 996 + seed))


@topic
def training_with_batch_norm_and_dropout():
    for activation, pooling, batch in (("relu", "max", MANY), ("tanh", "avg", FEW)):
        model = with_seeds(
            nn.LeNet5(
                input_size=20, activation=activation, pooling=pooling, batch_norm=True, dropout=0.25
            )
        )
        yield from trained(
            model,
            (1, 20, 20),
            lambda model: optim.Adam(model, 2.0**-8, BETAS),
            batch,
            nn.CrossEntropyLoss(),
        )
        yield from model.buffers.values()


DISTORTIONS = [
    Distortion.named("paper1998"),
    Distortion.named("modern"),
    Distortion(3, 0.3, 0.3, 0.5, 180, elastic=60, elastic_sigma=2, flip=0.5, probability=0.75),
]


@topic
def distortion():
    for image in ((1, 32, 32), (3, 13, 21), (1, 5, 2)):
        samples = whole_numbers((FEW, *image), 950, 0, 256).astype(np.uint8)
        for distortion in DISTORTIONS:
            yield distortion(samples, seed=3, epoch=1)


@topic
def training_on_distorted_images():
    model = nn.LeNet5(input_size=20, pooling="max")
    yield from trained(
        model,
        (1, 20, 20),
        lambda model: optim.SGD(model, 2.0**-6),
        FEW,
        nn.CrossEntropyLoss(),
        distort=DISTORTIONS[-1].for_epoch(2),
    )


PICTURES = Distortion.named("pictures-mixup")
AUGMENTATIONS = [
    Distortion(crop_padding=3, crop=0.5, flip=0.5, flip_vertical=0.5, outside="reflect"),
    Distortion(brightness=0.5, contrast=0.5, saturation=0.5, hue=90, grayscale=0.25),
    Distortion(rotation=30, erasing=0.75, erasing_area=0.5, outside="edge", probability=0.75),
    PICTURES,
]


@topic
def augmentation():
    for image in ((3, 32, 32), (1, 13, 21), (4, 5, 2)):
        samples = whole_numbers((FEW, *image), 951, 0, 256).astype(np.uint8)
        for distortion in AUGMENTATIONS:
            yield distortion(samples, seed=3, epoch=1)


@topic
def training_on_mixed_pictures():
    for batch in (FEW, 5):
        model = nn.LeNet5(input_size=20, in_channels=3, pooling="max")
        yield from trained(
            model,
            (3, 20, 20),
            lambda model: optim.SGD(model, 2.0**-6),
            batch,
            nn.CrossEntropyLoss(label_smoothing=0.125),
            distort=PICTURES.for_epoch(2),
        )


@topic
def training_on_few_samples():
    """Single samples: batches of four, and of one."""
    for batch in (5, 1):
        for pooling, activation in (("max", "relu"), ("avg", "tanh")):
            model = nn.LeNet5(
                input_size=16, padding=(2, 0), pooling=pooling, activation=activation, in_channels=2
            )
            loss = nn.CrossEntropyLoss()
            yield from trained(
                model, (2, 16, 16), lambda model: optim.Adam(model, 2.0**-8, BETAS), batch, loss
            )


@topic
def training_lenet5_of_1998():
    for batch, loss in ((FEW, nn.MLELoss()), (4, nn.MSELoss()), (1, nn.MAPLoss(0.125))):
        model = nn.LeNet5_1998(input_size=20)
        yield from trained(
            model, (1, 20, 20), lambda model: optim.SGD(model, 2.0**-12, 0.5), batch, loss
        )


@topic
def steps_on_few_samples():
    """Yield runs whose last batch is a short one."""
    samples = whole_numbers((21, 1, 20, 20), 951, 0, 256).astype(np.uint8)
    samples = nn.Samples(samples, scale=2.0**-7, offset=numbers((1, 20, 20), 954))
    labels = whole_numbers(21, 952, 0, 10)
    for batch_size in (1, 5, 16):
        model = nn.LeNet5_1998(input_size=20)
        model.vector[:] = numbers(model.num_params, 953) / 16
        optimizer = optim.SDLM(model, 2.0**-12)
        optimizer.estimate(samples, labels, nn.MLELoss())
        rates = [2.0**-12] * -(-21 // batch_size)
        yield from model.train_steps(
            samples, labels, nn.MLELoss(), optimizer, rates, batch_size=batch_size
        )
        yield model.vector


def digest(arrays):
    """SHA-256 of shapes and little-endian values; not-a-number counts without its sign."""
    total = hashlib.sha256()
    for array in map(np.asarray, arrays):
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        total.update(f"{array.dtype.name} {array.shape}".encode())
        total.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def fused_instruction_sets():
    """Usable instruction sets with fused multiply-add, as LENET5C_ISA names them, best first."""

    def tiles(isa):
        return import_module(f"lenet5c.kernels.simd._tiles_{isa}").kernels

    return [isa for isa in _cpu.supported() if _peak.instructions(tiles(isa)) in FUSED]


def computed(isa):
    """Return the digest of each topic with this instruction set, from its own process."""
    command = [sys.executable, __file__, "--compute"]
    environment = os.environ | {"LENET5C_ISA": isa}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {isa}:\n{done.stderr}")
    return json.loads(done.stdout)


def recorded():
    return json.loads(RECORD.read_text())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"record the digests in {RECORD.name}")
    parser.add_argument(
        "--compute", action="store_true", help="print the digests with LENET5C_ISA as JSON"
    )
    arguments = parser.parse_args()
    if arguments.compute:
        return print(json.dumps({name: digest(run()) for name, run in TOPICS.items()}))
    results = {isa: computed(isa) for isa in fused_instruction_sets()}
    if not results:
        sys.exit("no instruction set here fuses multiply-adds")
    best, expected = next(iter(results.items()))
    if not arguments.write:
        best, expected = RECORD.name, recorded()
    wrong = [
        f"{isa} differs from {best}: {name}"
        for isa, digests in results.items()
        for name in sorted(digests.keys() | expected.keys())
        if digests.get(name) != expected.get(name)
    ]
    if wrong:
        sys.exit("\n".join(wrong))
    if arguments.write:
        RECORD.write_text(json.dumps(expected, indent=2) + "\n")
    print(
        f"{len(expected)} topics agree: "
        + ", ".join([best, *(isa for isa in results if isa != best)])
    )


if __name__ == "__main__":
    main()
