"""Training steps of small color nets against PyTorch: strides, groups, depthwise, residuals.

    python benchmarks/blocks.py [--threads 2] [--batch-size 128] [--repeats 7] [--nets NAME ...]

Each net consists of a convolution from 3 to 32 channels with a ReLU on images of 32 x 32, the
measured layers, global average pooling and a fully connected layer. A step is forward,
cross-entropy, backward and SGD with momentum, from equal weights. PyTorch runs with autograd, in
both memory formats. Before the measurements, the first loss and gradients are compared with PyTorch
in float64.
"""

import copy

import numpy as np
from common import (
    OURS,
    Comparison,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)

from lenet5c import nn, optim

IMAGE, CHANNELS, CLASSES = (3, 32, 32), 32, 10
LR, MOMENTUM = 0.01, 0.9


def conv(inputs, outputs, size=3, **settings):
    return "Conv2d", (inputs, outputs, size), {"padding": size // 2} | settings


RELU = "ReLU", (), {}


def block(inputs, outputs, stride=1):
    """Describe two convolutions beside a shortcut, as of He et al. (2016), without norms."""
    layers = [conv(inputs, outputs, stride=stride), RELU, conv(outputs, outputs)]
    shortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride=stride)
    return "Residual", layers, shortcut


NETS = {
    "stem alone": [],
    "3x3": [conv(32, 32), RELU],
    "stride 2": [conv(32, 64, stride=2), RELU],
    "1x1 stride 2": [conv(32, 64, 1, stride=2), RELU],
    "groups 2": [conv(32, 32, groups=2), RELU],
    "groups 4": [conv(32, 32, groups=4), RELU],
    "dilation 2": [conv(32, 32, padding=2, dilation=2), RELU],
    "depthwise": [conv(32, 32, groups=32), RELU],
    "separable": [conv(32, 32, groups=32), RELU, conv(32, 64, 1), RELU],
    "depthwise stride 2": [conv(32, 32, groups=32, stride=2), RELU],
    "residual": [block(32, 32), RELU],
    "residual net": [block(32, 32), RELU, block(32, 64, 2), RELU, block(64, 128, 2), RELU],
}


def model_of(layers):
    """Make the net of lenet5c."""

    def make(kind, *rest):
        if kind == "Residual":
            layers, shortcut = rest
            return nn.Residual(
                *(make(*each) for each in layers), shortcut=make(*shortcut) if shortcut else None
            )
        arguments, settings = rest
        if kind == "Conv2d":
            settings = settings | {"rng": 0}
        return getattr(nn, kind)(*arguments, **settings)

    body = [make(*each) for each in [conv(3, CHANNELS), RELU, *layers]]
    model = nn.Sequential(*body, nn.GlobalAvgPool2d(), nn.Flatten())
    features = model.output_shape(IMAGE)[0]
    return nn.Sequential(*body, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(features, CLASSES))


def counterpart_of(layers, model, torch):
    """Make the same net in PyTorch, with the same weights."""

    class Residual(torch.nn.Module):
        def __init__(self, layers, shortcut):
            super().__init__()
            self.layers = torch.nn.Sequential(*layers)
            self.shortcut = shortcut or torch.nn.Identity()

        def forward(self, x):
            return self.layers(x) + self.shortcut(x)

    def make(kind, *rest):
        if kind == "Residual":
            layers, shortcut = rest
            return Residual([make(*each) for each in layers], shortcut and make(*shortcut))
        arguments, settings = rest
        return getattr(torch.nn, kind)(*arguments, **settings)

    head = torch.nn.Linear(model[-1].in_features, CLASSES)
    counterpart = torch.nn.Sequential(
        *(make(*each) for each in [conv(3, CHANNELS), RELU, *layers]),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head),
    )
    counterpart.load_state_dict({name: torch.tensor(a) for name, a in model.state_dict().items()})
    return counterpart


def our_step(model, x, labels):
    optimizer, loss = optim.SGD(model, LR, momentum=MOMENTUM), nn.CrossEntropyLoss()
    return lambda: model.train_steps(x, labels, loss, optimizer, [LR], batch_size=len(x))


def their_step(counterpart, x, labels, layout, torch):
    counterpart = copy.deepcopy(counterpart).to(memory_format=layout)
    x, labels = torch.tensor(x).to(memory_format=layout), torch.tensor(labels)
    optimizer = torch.optim.SGD(counterpart.parameters(), lr=LR, momentum=MOMENTUM)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(counterpart(x), labels).backward()
        optimizer.step()

    return step


def compare(name, model, counterpart, x, labels, torch):
    """End the program unless the first loss and gradients agree with PyTorch's in float64."""
    loss, _ = model.train_step(x, labels, nn.CrossEntropyLoss())
    counterpart, images = copy.deepcopy(counterpart).double(), torch.tensor(x, dtype=torch.float64)
    theirs = torch.nn.functional.cross_entropy(counterpart(images), torch.tensor(labels))
    theirs.backward()
    gradient = np.concatenate([each.grad.numpy().ravel() for each in counterpart.parameters()])
    results = {OURS: [loss, model.grad_vector], "PyTorch": [theirs.item(), gradient]}
    check_agreement(name, results, 1e-5)


def main():
    parser = make_parser(__doc__, repeats=7)
    parser.add_argument(
        "--batch-size", type=positive, default=128, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NAME")
    options = parser.parse_args()
    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    print_header(options.threads, peers, Comparison.NOTE.partition(" Of FMA")[0])
    torch = peers.get("PyTorch")
    layouts = {}
    if torch:
        layouts = {"PyTorch": torch.contiguous_format, "channels_last": torch.channels_last}
    table = Comparison({"net": 18}, [OURS, *layouts])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((options.batch_size, *IMAGE)).astype(np.float32)
    labels = rng.integers(CLASSES, size=options.batch_size)
    for name in options.nets:
        model = model_of(NETS[name])
        runs = {}
        if torch:
            counterpart = counterpart_of(NETS[name], model, torch)
            compare(name, model, counterpart, x, labels, torch)
            runs = {
                peer: their_step(counterpart, x, labels, layout, torch)
                for peer, layout in layouts.items()
            }
        runs = {OURS: our_step(model, x, labels)} | runs
        table.row([name], interleaved(runs, options.repeats))


if __name__ == "__main__":
    main()
